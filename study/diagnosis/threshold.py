"""The threshold that turns probabilities into decisions; chosen on validation."""

import numpy as np

from results.stats.metrics import as_binary


def choose_threshold(labels, probabilities) -> float:
    """The threshold of greatest Youden's J = TPR - FPR (Youden 1950); an image is positive at or above it.

    Candidates are the midpoints between neighbouring distinct probabilities. Among equal J the lowest wins: it misses
    the fewest infections. Where all probabilities are equal there is nothing to choose, and 0.5 is returned.
    `labels` (N,) of 0 and 1, both present; `probabilities` (N,) in [0, 1].
    """
    labels, probabilities = as_binary(labels, probabilities)
    assert len(np.unique(labels)) == 2, "every split has images of both classes"
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
