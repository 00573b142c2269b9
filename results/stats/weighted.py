"""The metrics of `results.stats.metrics` under thousands of weightings of the same images at once.

A bootstrap resample is a weight per image: how often it was drawn. Entry r of a result is the metric under column r of
the weights, NaN where it is undefined.
"""

import numpy as np

from results.stats.metrics import NUM_BINS, bin_number


def weighted_auroc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC (R,) as the share of (positive, negative) pairs in order, ties half: Mann-Whitney by weighted ranks.

    `labels` (N,) of 0 and 1, `probabilities` (N,), `weights` (N, R) of whole numbers.
    """
    order = np.argsort(probabilities[labels == 0], kind="stable")
    negative = probabilities[labels == 0][order]
    below = np.concatenate([np.zeros((1, weights.shape[1])), weights[labels == 0][order].cumsum(axis=0)])
    positive, weight = probabilities[labels == 1], weights[labels == 1]
    less, at_most = (below[np.searchsorted(negative, positive, side)] for side in ("left", "right"))
    in_order = np.einsum("ir,ir->r", weight, less + at_most) / 2
    return _ratio(in_order, weight.sum(axis=0) * below[-1])


def weighted_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Each metric of `results.stats.metrics.binary_metrics` but precision and recall, (R,), by name.

    `labels` (N,) of 0 and 1, `probabilities` (N,) in [0, 1], `weights` (N, R) of whole numbers.
    """
    called, positive = probabilities >= threshold, labels == 1
    total = weights.sum(axis=0)
    tp, fp, fn = (mask.astype(float) @ weights for mask in (called & positive, called & ~positive, ~called & positive))
    tn = total - tp - fp - fn
    return {
        "auroc": weighted_auroc(labels, probabilities, weights),
        "accuracy": _ratio(tp + tn, total),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "tpr": _ratio(tp, tp + fn),
        "fpr": _ratio(fp, fp + tn),
        "brier": _ratio((probabilities - labels) ** 2 @ weights, total),
        "ece": _calibration_error(labels, probabilities, weights),
        **_along_thresholds(labels, probabilities, weights),
    }


def _calibration_error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    in_bin = bin_number(probabilities) == np.arange(NUM_BINS)[:, None]
    gaps = ((probabilities - labels) * in_bin) @ weights  # (bins, R)
    return _ratio(np.abs(gaps).sum(axis=0), weights.sum(axis=0))


def _along_thresholds(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision and sensitivity at 95 % specificity, from the counts at every threshold, strictest first."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.diff(probabilities[order], append=-1))  # of each run of equal probabilities
    weight, positive = weights[order], labels[order, None] == 1
    tp, fp = (np.where(mask, weight, 0).cumsum(axis=0)[last] for mask in (positive, ~positive))
    found = _ratio(np.diff(tp, axis=0, prepend=0) * tp, tp + fp)  # before the first image drawn: nothing found
    allowed = 20 * fp <= fp[-1]
    both = (tp[-1] > 0) & (fp[-1] > 0)
    return {
        "auprc": _ratio(np.nansum(found, axis=0), np.where(both, tp[-1], 0)),
        "sensitivity_at_95_specificity": _ratio((tp * allowed).max(axis=0), np.where(both, tp[-1], 0)),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)
