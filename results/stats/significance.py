"""Tests of two arms on the same images, for trainings and patients in general, and Holm's adjustment.

An arm's metric varies for two reasons: each training ends elsewhere, and the test images are a sample. Both are random
factors here (Obuchowski and Rockette 1995). Images lie in groups, such as the photographs of one wound; groups are
independent of each other, images of one are not.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, t

LEVEL = 0.95
MIN_GROUPS = 5  # of each class; fewer say nothing about other groups
ROUNDING = 1e-15  # a variance that is none; of one image in a million it is 1e-12


@dataclass(frozen=True)
class Difference:
    """The mean metric of arm a minus that of arm b, its standard error and degrees of freedom."""

    value: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def p_value(self) -> float | None:
        """Two-sided; without any variance 1 for equal arms, and none for others, as they have no interval."""
        if not self.standard_error:
            return None if self.value else 1.0
        return float(2 * t.sf(abs(self.value) / self.standard_error, self.degrees_of_freedom))

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """The 95 % interval; none without variance, which is no certainty."""
        if not self.standard_error:
            return None, None
        reach = float(t.ppf((1 + LEVEL) / 2, self.degrees_of_freedom) * self.standard_error)
        return self.value - reach, self.value + reach


def paired_difference(values: np.ndarray, covariance: np.ndarray, num_groups: int) -> Difference:
    """Arm a minus arm b, where seed s of both arms shares something, such as its part of the training images.

    `values` (2S,): a metric of arm a's S trainings, then of arm b's; `covariance` (2S, 2S): their sampling covariance
    over groups. The variance of the mean difference is the variance of the S differences over S, plus the covariance
    of differences of two seeds, which have their test images in common. Degrees of freedom after Satterthwaite.
    One training of each arm: the covariance alone, so the p-value speaks of these two networks.
    """
    num_seeds, differences = len(values) // 2, _minus(values)
    spread = [(differences.var(ddof=1) / num_seeds, num_seeds - 1)] if num_seeds > 1 else []
    return _difference(differences.mean(), spread, _minus(_minus(covariance).T), num_groups)


def independent_difference(
    values: np.ndarray, covariance: np.ndarray, num_groups: int, earlier: tuple[np.ndarray, np.ndarray]
) -> Difference:
    """Arm a minus arm b, trained independently of each other; Welch 1947, with the test images as a second factor.

    `values` and `covariance` as in `paired_difference`. `earlier`: metrics of other trainings of arm a and of arm b,
    each (C,) or empty, which tell how much trainings vary and take no part in the mean.
    """
    num_seeds = len(values) // 2
    arms = values[:num_seeds], values[num_seeds:]
    spread = []
    for arm, others in zip(arms, earlier, strict=True):
        parts = [part for part in (arm, others) if len(part) > 1]
        freedom = sum(len(part) - 1 for part in parts)
        if freedom:
            spread.append((sum(((part - part.mean()) ** 2).sum() for part in parts) / freedom / num_seeds, freedom))
    return _difference(arms[0].mean() - arms[1].mean(), spread, _minus(_minus(covariance).T), num_groups)


def _minus(values: np.ndarray) -> np.ndarray:
    """The rows of arm a minus those of arm b: (S, ...) from (2S, ...)."""
    of_a, of_b = np.split(values, 2)
    return of_a - of_b


def _difference(value: float, spread: list[tuple[float, int]], covariance: np.ndarray, num_groups: int) -> Difference:
    """`spread`: (variance of a mean, degrees of freedom) of the trainings; `covariance` (S, S) over groups, of the
    differences of all seeds.

    What two seeds have in common adds to the spread. Together they are at least the variance that these very networks
    have over groups, the mean of the covariance: few seeds that agree by chance are no certainty.
    """
    of_trainings = sum(part for part, _ in spread)
    between = covariance[~np.eye(len(covariance), dtype=bool)]
    shared = max(between.mean() if len(between) else 0, covariance.mean() - of_trainings, 0)
    parts = [*spread, (shared, max(num_groups - 1, 1))]
    variance = of_trainings + shared
    if variance < ROUNDING:
        return Difference(float(value), 0.0, np.inf)
    squares = sum(part**2 / freedom for part, freedom in parts)
    return Difference(float(value), float(np.sqrt(variance)), float(variance**2 / squares))


def accuracy_covariance(correct, groups) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies (A,) of `correct` (A, N) on the same images in `groups` (N,), and their covariance (A, A)."""
    number = np.unique(groups, return_inverse=True)[1]
    correct = np.asarray(correct, dtype=float)
    accuracies = correct.mean(axis=1)
    parts = (correct - accuracies[:, None]) @ np.eye(number.max() + 1)[number] / correct.shape[1]  # (A, G)
    return accuracies, _scatter(parts, parts, number)


def auroc_covariance(labels, probabilities, groups) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs (A,) of `probabilities` (A, N) on the same images, and their covariance (A, A).

    Obuchowski 1997, eqs. 3 to 6, with structural components from midranks (Sun and Xu 2014); it equals DeLong's for
    groups of one image each. `labels` (N,) of 0 and 1, both present; `groups` (N,).
    """
    labels, number = np.asarray(labels), np.unique(groups, return_inverse=True)[1]
    positive, negative = (probabilities[:, labels == label] for label in (1, 0))
    m, n = positive.shape[1], negative.shape[1]
    ranks = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # Components: the share of negatives below a positive, of positives above a negative; ties half.
    of_positive = (ranks[:, :m] - rankdata(positive, axis=1)) / n
    of_negative = 1 - (ranks[:, m:] - rankdata(negative, axis=1)) / m
    aurocs = of_positive.mean(axis=1)

    one_hot = np.eye(number.max() + 1)[number]  # (N, G)
    x = (of_positive - aurocs[:, None]) @ one_hot[labels == 1] / m  # (A, G), a group's part in the error
    y = (of_negative - aurocs[:, None]) @ one_hot[labels == 0] / n
    return aurocs, _scatter(x, x, number[labels == 1]) + _scatter(y, y, number[labels == 0]) + (
        _scatter(x, y, number) + _scatter(y, x, number)
    )


def _scatter(x: np.ndarray, y: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Sum over groups of products, times I / (I - 1) for the I groups that occur in `present`."""
    count = len(np.unique(present))
    return x @ y.T * (count / (count - 1) if count > 1 else 1)


def holm(p_values) -> np.ndarray:
    """The p-values of one family of tests, adjusted by the method of Holm 1979, in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
