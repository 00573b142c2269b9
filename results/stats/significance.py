"""Tests of two classifiers on the same images: DeLong for AUROC, permutation for accuracy, Holm's adjustment.

Images lie in groups, such as the photographs of one wound. Groups are independent of each other, images of one are not.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, t


@dataclass(frozen=True)
class DeLongResult:
    """Mean AUROC of a minus that of b, its standard error, the degrees of freedom and the two-sided p-value."""

    difference: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float


def delong_test(labels, probabilities_a, probabilities_b, groups) -> DeLongResult:
    """Tests whether two arms have the same AUROC. `labels` and `groups` (N,), `probabilities_*` (S, N), a row a seed.

    One seed: DeLong, DeLong and Clarke-Pearson 1988, with Obuchowski's covariance (1997) where groups hold several
    images. Several seeds: they are a random sample of trainings, like the readers of Obuchowski and Rockette 1995, so
    the p-value holds for trainings in general, not for these S networks alone. The variance of the mean difference is
    the variance between seeds over S, plus the covariance of seeds that are tested on the same images; the degrees of
    freedom are those of Hillis 2007. Without any variance p is 1 for equal AUROCs, else 0. Both classes are needed.
    """
    num_seeds = len(probabilities_a)
    aurocs, covariance = auroc_covariance(labels, np.concatenate([probabilities_a, probabilities_b]), groups)
    minus = np.concatenate([np.eye(num_seeds), -np.eye(num_seeds)], axis=1)
    differences, covariance = minus @ aurocs, minus @ covariance @ minus.T
    difference = float(differences.mean())
    if num_seeds == 1:
        variance, degrees_of_freedom = covariance[0, 0], np.inf
    else:
        between = differences.var(ddof=1) / num_seeds
        shared = covariance[~np.eye(num_seeds, dtype=bool)].mean()
        variance = between + max(shared, 0)
        degrees_of_freedom = variance**2 / between**2 * (num_seeds - 1) if between else np.inf
    error = float(np.sqrt(max(variance, 0)))  # a variance of 0 may come out as -1e-19
    p_value = 2 * t.sf(abs(difference) / error, degrees_of_freedom) if error else difference == 0
    return DeLongResult(difference, error, float(degrees_of_freedom), float(p_value))


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


def accuracy_permutation_test(correct_a, correct_b, groups) -> tuple[float, float]:
    """Accuracy of arm a minus that of b, over all seeds, and the exact two-sided p-value of swapping arms by group.

    `correct_*` (S, N), whether a seed's classifier is right about an image; `groups` (N,). Under the null hypothesis
    the difference of a group, over all its images and seeds, changes sign with probability 1/2. All 2^G swaps are
    counted: the differences are whole numbers, so the distribution of their signed sum is a convolution (Pagano and
    Tritchler 1983). The p-value holds for these S pairs of networks.
    """
    number = np.unique(groups, return_inverse=True)[1]
    gains = (np.asarray(correct_a).astype(int) - np.asarray(correct_b).astype(int)).sum(axis=0)  # (N,)
    steps = np.abs(np.bincount(number, weights=gains)).astype(int)
    distribution = np.ones(1)  # of the sum of the signed steps, over -sum .. sum
    for step in steps[steps > 0]:
        distribution = (np.pad(distribution, (2 * step, 0)) + np.pad(distribution, (0, 2 * step))) / 2
    sums = np.arange(len(distribution)) - steps.sum()
    p_value = distribution[np.abs(sums) >= abs(gains.sum())].sum()
    return float(gains.sum() / np.size(correct_a)), float(min(p_value, 1))


def holm(p_values) -> np.ndarray:
    """The p-values of one family of tests, adjusted by the method of Holm 1979, in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
