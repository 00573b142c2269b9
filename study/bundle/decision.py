"""From a probability and features to what a person is told: label, "uncertain", "far from the training data"."""

from dataclasses import dataclass

import numpy as np

ERROR_RATE = 0.05  # of each class, that the uncertain band leaves outside
FAR_RATE = 0.05  # of validation images that count as far


def uncertain_band(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, threshold: float
) -> tuple[float, float]:
    """The band [low, high] of probabilities that do not settle the label; it holds the threshold.

    Class-conditional conformal prediction on validation (Vovk et al. 2005, section 4.5), by groups: of images of new
    patients or wounds like these, at most one positive in twenty falls below the band and at most one negative in
    twenty above it. Where the threshold alone keeps that promise, the band is the threshold. A class in fewer than 19
    groups rules nothing out.
    """
    low, high = (
        _lower_bound(sign * probabilities[labels == label], groups[labels == label], ERROR_RATE)
        for label, sign in ((1, 1), (0, -1))
    )
    return float(min(max(low, 0.0), threshold)), float(max(min(-high, 1.0), threshold))


def _lower_bound(values: np.ndarray, groups: np.ndarray, rate: float) -> float:
    """The largest value that an image of a new group falls below with a probability of at most `rate`; else -inf.

    Each group weighs the same, and so do the images in it (Lee, Barber and Willett 2023, hierarchical conformal
    prediction); the new group may hold anything.
    """
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    weights = (1 / count[number] / (len(count) + 1))[order]
    below = 1 / (len(count) + 1) + np.cumsum(weights) - weights
    fits = np.flatnonzero(below <= rate + 1e-9)
    return float(values[order][fits[-1]]) if len(fits) else -np.inf


@dataclass(frozen=True)
class TrainingFeatures:
    """Where the real training images lie in the classifier's features: a Gaussian for each class, of one covariance.

    Lee et al. 2018, section 2.1. `means` (2, C), `whitening` (C, C), float32. No image's own features are kept.
    """

    means: np.ndarray
    whitening: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance (N,) of features (N, C) to the nearer class."""
        white = (features[:, None] - self.means) @ self.whitening  # N x 2 x C
        return np.linalg.norm(white, axis=2).min(axis=1)


def far_threshold(distances: np.ndarray, groups: np.ndarray) -> float:
    """The distance that one image in twenty of new groups like those of validation, distances (N,), lies beyond.

    The greatest of them where there are fewer than 19 groups.
    """
    return float(min(-_lower_bound(-distances, groups, FAR_RATE), distances.max()))
