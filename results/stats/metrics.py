"""Metrics of a binary classifier's probabilities; an undefined metric is None, never NaN and never 0."""

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    matthews_corrcoef,
    roc_auc_score,
    roc_curve,
)

NUM_BINS = 15  # of equal width, as in Guo et al. 2017 and torchmetrics

# The paper's confidence bands: severe infections score 0.94 or more, ambiguous cases 0.54 to 0.79.
CONFIDENCE_BANDS = {"severe": (0.94, 1.0), "ambiguous": (0.54, 0.79)}


def binary_metrics(labels, probabilities, threshold: float) -> dict[str, float | int | None]:
    """All metrics of one set of images; the keys are TRIALS' diagnosis columns without "validation_" or "test_".

    `labels` (N,) of 0 and 1, `probabilities` (N,) of class 1, in [0, 1]; an image is called positive at or above
    `threshold`. TPR (sensitivity) equals recall; specificity is 1 - FPR; AUPRC is average precision. A ratio with a
    denominator of zero, MCC with one class never called or missing, and an area with a class missing are None.
    Raises ValueError for invalid labels or probabilities.
    """
    labels, probabilities = as_binary(labels, probabilities)
    called = probabilities >= threshold
    tn, fp, fn, tp = map(int, confusion_matrix(labels, called, labels=[0, 1]).ravel())
    both = tp + fn > 0 and tn + fp > 0
    return {
        "accuracy": _ratio(tp + tn, len(labels)),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": float(matthews_corrcoef(labels, called)) if both and 0 < tp + fp < len(labels) else None,
        "tpr": _ratio(tp, tp + fn),
        "fpr": _ratio(fp, fp + tn),
        "auroc": float(roc_auc_score(labels, probabilities)) if both else None,
        "auprc": float(average_precision_score(labels, probabilities)) if both else None,
        "sensitivity_at_95_specificity": _sensitivity_at_95_specificity(labels, probabilities) if both else None,
        "brier": float(brier_score_loss(labels, probabilities, pos_label=1)),
        "ece": expected_calibration_error(labels, probabilities),
        "num_images": len(labels),
        "num_positive": tp + fn,
    }


def expected_calibration_error(labels, probabilities) -> float:
    """Mean gap between probability and share of positives over `reliability_bins`, weighted by images.

    Naeini, Cooper and Hauskrecht 2015, with `NUM_BINS` bins; the confidence is the probability of class 1.
    """
    bins = reliability_bins(labels, probabilities)
    gaps = [row["num_images"] * abs(row["mean_probability"] - row["share_positive"]) for row in bins]
    return sum(gaps) / sum(row["num_images"] for row in bins)


def reliability_bins(labels, probabilities) -> list[dict[str, float | int]]:
    """The reliability curve (DeGroot and Fienberg 1983): a row for each of `NUM_BINS` bins [low, high) with images.

    The last bin holds 1.0 too. Keys: low, high, mean_probability, share_positive, num_images.
    """
    labels, probabilities = as_binary(labels, probabilities)
    number = bin_number(probabilities)
    return [
        {"low": bin_ / NUM_BINS, "high": (bin_ + 1) / NUM_BINS} | _band(labels, probabilities, number == bin_)
        for bin_ in np.unique(number)
    ]


def bin_number(probabilities: np.ndarray) -> np.ndarray:
    """The reliability bin, 0 to NUM_BINS - 1, of each probability."""
    return np.digitize(probabilities, np.arange(1, NUM_BINS) / NUM_BINS)


def confidence_bands(labels, probabilities) -> list[dict[str, str | float | int | None]]:
    """The share of positives among the images scored inside each of the paper's confidence bands, ends included.

    The paper gives no counts. In a calibrated classifier share_positive is near mean_probability; both are None for a
    band without images. Keys: band, low, high, mean_probability, share_positive, num_images.
    """
    labels, probabilities = as_binary(labels, probabilities)
    return [
        {"band": band, "low": low, "high": high}
        | _band(labels, probabilities, (probabilities >= low) & (probabilities <= high))
        for band, (low, high) in CONFIDENCE_BANDS.items()
    ]


def as_binary(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays (N,), int64 and float64. Raises ValueError for other shapes, labels or probabilities."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(f"labels {labels.shape}, probabilities {probabilities.shape}: one of each per image is needed")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; NaN means that the classifier's training diverged")
    return labels.astype(np.int64), probabilities


def _sensitivity_at_95_specificity(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The greatest TPR of any threshold that calls at most 5 % of the negatives; nothing is interpolated."""
    fpr, tpr, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    num_negative = np.sum(labels == 0)
    return float(tpr[20 * np.rint(fpr * num_negative) <= num_negative].max())  # in whole images: 5 % exactly counts


def _band(labels: np.ndarray, probabilities: np.ndarray, inside: np.ndarray) -> dict[str, float | int | None]:
    count = int(inside.sum())
    return {
        "mean_probability": _ratio(float(probabilities[inside].sum()), count),
        "share_positive": _ratio(int(labels[inside].sum()), count),
        "num_images": count,
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
