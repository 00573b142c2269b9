"""From probabilities to a decision: the threshold is chosen on validation, then the metrics of a split."""

import numpy as np

from results.stats.metrics import as_binary, binary_metrics


def choose_threshold(labels, probabilities) -> float:
    """The threshold of greatest Youden's J = TPR - FPR (Youden 1950); an image is positive at or above it.

    Candidates are the midpoints between neighbouring distinct probabilities. Among equal J the lowest wins: it misses
    the fewest infections. Where all probabilities are equal there is nothing to choose, and 0.5 is returned.
    `labels` (N,) of 0 and 1, `probabilities` (N,) in [0, 1]. Raises ValueError unless both classes are present.
    """
    labels, probabilities = as_binary(labels, probabilities)
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
    """`results.stats.metrics.binary_metrics` of one split as TRIALS' columns; `prefix` is "validation" or "test".

    Raises ValueError for inputs that are no labels or no probabilities.
    """
    assert prefix in ("validation", "test"), prefix
    metrics = binary_metrics(labels, probabilities, threshold)
    return {f"{prefix}_{name}": value for name, value in metrics.items()}
