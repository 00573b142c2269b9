"""From probabilities to a decision: the threshold is chosen on validation, then the metrics of a split."""

import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score


def choose_threshold(labels, probabilities) -> float:
    """The threshold of greatest Youden's J = TPR - FPR (Youden 1950); an image is positive at or above it.

    Candidates are the midpoints between neighbouring distinct probabilities. Among equal J the lowest wins: it misses
    the fewest infections. Where all probabilities are equal there is nothing to choose, and 0.5 is returned.
    `labels` (N,) of 0 and 1, `probabilities` (N,) in [0, 1]. Raises ValueError unless both classes are present.
    """
    labels, probabilities = _checked(labels, probabilities)
    if len(np.unique(labels)) < 2:
        raise ValueError("a threshold needs images of both classes in the validation split; check the labels or splits")
    distinct, position = np.unique(probabilities, return_inverse=True)
    if len(distinct) == 1:
        return 0.5
    count = np.bincount(position, minlength=len(distinct))
    positive = np.bincount(position[labels == 1], minlength=len(distinct))
    called = (count[::-1].cumsum()[::-1])[1:]  # at or above each candidate
    found = (positive[::-1].cumsum()[::-1])[1:]
    # J times both class sizes: whole numbers, so that equal J are equal.
    j = found * (labels == 0).sum() - (called - found) * (labels == 1).sum()
    best = int(j.argmax())
    return float((distinct[best] + distinct[best + 1]) / 2)


def diagnosis_metrics(labels, probabilities, threshold: float, prefix: str) -> dict[str, float | int | None]:
    """Metrics of one split; column names start with `prefix`, "validation" or "test".

    `labels` (N,) of 0 and 1, `probabilities` (N,) in [0, 1]; positive means a probability at or above `threshold`.
    TPR equals recall. AUPRC is average precision; Brier is the mean squared error of the probabilities. A ratio over
    nothing, and an area where a class is missing, is None.
    """
    labels, probabilities = _checked(labels, probabilities)
    assert prefix in ("validation", "test"), prefix
    tn, fp, fn, tp = map(int, confusion_matrix(labels, probabilities >= threshold, labels=[0, 1]).ravel())
    both = tp + fn > 0 and tn + fp > 0
    metrics = {
        "accuracy": _ratio(tp + tn, len(labels)),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "tpr": _ratio(tp, tp + fn),
        "fpr": _ratio(fp, fp + tn),
        "auroc": float(roc_auc_score(labels, probabilities)) if both else None,
        "auprc": float(average_precision_score(labels, probabilities)) if both else None,
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "num_images": len(labels),
        "num_positive": tp + fn,
    }
    return {f"{prefix}_{name}": value for name, value in metrics.items()}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _checked(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(f"labels {labels.shape}, probabilities {probabilities.shape}: one of each per image is needed")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; NaN means that the classifier's training diverged")
    return labels.astype(np.int64), probabilities
