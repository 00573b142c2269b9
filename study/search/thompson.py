"""What to try next: Thompson sampling from a Gaussian process over a search's settings (Thompson 1933).

A score is taken as mean + settings of the GAN + other settings + the GAN itself + noise, each part normal. A setting
has an effect of its own, alike for near values (additive Gaussian processes, Duvenaud et al. 2011). The shares of the
parts in the variance are not known; they are drawn from their restricted likelihood on a grid. The best candidate of a
draw from the posterior is tried next: what looks good often, what is little known now and then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.linalg import solve_triangular

from study.search.space import gan_of, generator_side

LENGTH = 0.7     # over which a setting's effect changes, of its whole range from -1 to 1
STEP = 0.2       # between two shares of the variance that are weighed
REMEMBERED = 500 # of the trials, the latest from which the scores are drawn: their number costs its third power
FAR = 100.0      # between two names, which have no order
ALIKE = 1e-8     # of the variance, added to a covariance: without it rounding may leave no root
# Of the variance: settings of the GAN, other settings, the GAN itself; the rest is noise.
SHARES = [shares for shares in product(np.arange(0, 1, STEP), repeat=3) if sum(shares) < 1 - STEP / 2]


@dataclass(frozen=True)
class Places:
    """Where trials lie in the search space: each (trials, settings), NaN for a setting that a trial lacks."""

    of_gan: np.ndarray
    others: np.ndarray
    gan: np.ndarray  # (trials,), a number for each GAN


def choose(
    tried: list[dict],
    scores: Sequence[float],
    candidates: list[dict],
    space: dict[str, BaseDistribution],
    lots: np.random.Generator,
) -> dict:
    """The candidate to try next. `tried`: the parameters of trials whose `scores`, the higher the better, are known;
    `space`: the distribution of each parameter. Without two different scores any candidate is as good as the others."""
    tried, scores = tried[-REMEMBERED:], np.asarray(scores[-REMEMBERED:], dtype=float)
    if len(scores) < 2 or np.ptp(scores) == 0:
        return candidates[lots.integers(len(candidates))]
    both = places([*tried, *candidates], space)
    draw = drawn_scores(both, scores, lots)
    return candidates[int(np.argmax(draw))]


def random_values(space: dict[str, BaseDistribution], lots: np.random.Generator) -> dict:
    """A value of each parameter, all equally likely."""
    return {name: random_value(domain, lots) for name, domain in space.items()}


def random_value(domain: BaseDistribution, lots: np.random.Generator):
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[lots.integers(len(domain.choices))]
    if domain.log:
        return float(np.exp(lots.uniform(np.log(domain.low), np.log(domain.high))))
    return float(lots.uniform(domain.low, domain.high))


def places(parameters: list[dict], space: dict[str, BaseDistribution]) -> Places:
    def columns(names: list[str]) -> np.ndarray:
        values = [[place(one[name], space[name]) if name in one else np.nan for name in names] for one in parameters]
        return np.array(values, dtype=float).reshape(len(parameters), len(names))

    of_gan = list(generator_side(space))
    others = [name for name in space if name not in of_gan]
    gans = list(map(gan_of, parameters))
    numbers = {gan: number for number, gan in enumerate(dict.fromkeys(gans))}
    return Places(columns(of_gan), columns(others), np.array([numbers[gan] for gan in gans]))


def place(value, domain: BaseDistribution) -> float:
    """A number between -1 and 1, near for near values; names are all far from each other."""
    if isinstance(domain, CategoricalDistribution):
        index = domain.to_internal_repr(value)
        if isinstance(value, str):
            return FAR * index
        return 2 * index / (len(domain.choices) - 1) - 1
    scale = np.log if domain.log else float
    low, high = scale(domain.low), scale(domain.high)
    return float(2 * (scale(value) - low) / (high - low) - 1)


def kernels(at: Places) -> np.ndarray:
    """(3, n, n): how the parts of n trials' scores vary together, each with variance 1."""
    return np.stack([alike(at.of_gan), alike(at.others), np.equal.outer(at.gan, at.gan).astype(float)])


def alike(columns: np.ndarray) -> np.ndarray:
    """(n, n) from (n, settings): the mean over settings of a squared exponential, 0 for one that a trial lacks."""
    difference = columns[:, None] - columns
    near = np.nan_to_num(np.exp(-((difference / LENGTH) ** 2) / 2))
    return near.sum(axis=2) / max(1, columns.shape[1])


def drawn_scores(at: Places, scores: np.ndarray, lots: np.random.Generator) -> np.ndarray:
    """One draw of the candidates' scores without noise; `at`: the trials with these scores, then the candidates."""
    parts, num = kernels(at), len(scores)
    known = parts[:, :num, :num]
    fits = [fit(np.tensordot(shares, known, 1) + (1 - sum(shares)) * np.eye(num), scores) for shares in SHARES]
    likelihood = np.array([one[0] for one in fits])
    weight = np.exp(likelihood - likelihood.max())
    chosen = lots.choice(len(SHARES), p=weight / weight.sum())
    _, centre, weights, root, variance = fits[chosen]
    covariance = np.tensordot(SHARES[chosen], parts, 1)
    to_known = covariance[num:, :num]
    explained = solve_triangular(root, to_known.T, lower=True)
    spread = covariance[num:, num:] - explained.T @ explained + ALIKE * np.eye(len(to_known))
    normal = lots.standard_normal(len(to_known))
    return centre + to_known @ weights + np.sqrt(variance) * (np.linalg.cholesky(spread) @ normal)


def fit(covariance: np.ndarray, scores: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray, float]:
    """Of scores (n,) with this covariance but for a factor: restricted log likelihood, mean, weights (n,) of the scores
    in a prediction, root (n, n) of the covariance, and the factor, which is estimated."""
    root = np.linalg.cholesky(covariance + ALIKE * np.eye(len(scores)))
    ones, own = solve_triangular(root, np.stack([np.ones_like(scores), scores], axis=1), lower=True).T
    precision = ones @ ones
    centre = ones @ own / precision
    rest = own - centre * ones
    freedom = len(scores) - 1
    variance = rest @ rest / freedom
    likelihood = -(2 * np.log(np.diag(root)).sum() + np.log(precision) + freedom * np.log(variance)) / 2
    return likelihood, centre, solve_triangular(root, rest, lower=True, trans=1), root, variance
