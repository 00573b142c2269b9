"""From a probability and features to what a person is told: label, "uncertain", "far from the training data"."""

from dataclasses import dataclass

import numpy as np

ERROR_RATE = 0.05  # of each class, that the uncertain band leaves outside
FAR_RATE = 0.05  # of validation images that count as far


def uncertain_band(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[float, float]:
    """The band [low, high] of probabilities that do not settle the label; it holds the threshold.

    Class-conditional conformal prediction on validation (Vovk et al. 2005, section 4.5): of new images like these, at
    most one positive in twenty falls below the band and at most one negative in twenty above it. Where the threshold
    alone keeps that promise, the band is the threshold. A class with fewer than 19 images rules nothing out.
    """
    lowest_positive = _order_statistic(probabilities[labels == 1])
    highest_negative = 1 - _order_statistic(1 - probabilities[labels == 0])
    return float(min(lowest_positive, threshold)), float(max(highest_negative, threshold))


def _order_statistic(values: np.ndarray) -> float:
    """The largest bound that at most one new value in twenty falls below; 0 where there are too few values."""
    rank = int(np.floor(ERROR_RATE * (len(values) + 1)))
    return float(np.sort(values)[rank - 1]) if rank else 0.0


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


def far_threshold(distances: np.ndarray) -> float:
    """The distance that one image in twenty like those of validation, distances (N,), lies beyond."""
    rank = int(np.ceil((1 - FAR_RATE) * (len(distances) + 1)))
    return float(np.sort(distances)[min(rank, len(distances)) - 1])
