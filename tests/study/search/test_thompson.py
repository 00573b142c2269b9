"""The Gaussian process over settings against the plain formula, and what is drawn from it."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import multivariate_normal

from study.config import make_config
from study.search.space import distributions
from study.search.thompson import FAR, SHARES, alike, choose, drawn_scores, fit, kernels, place, places, random_values

SPACE = distributions(make_config({}), {})


def random_trials(number, seed=0):
    lots = np.random.default_rng(seed)
    return [random_values(SPACE, lots) for _ in range(number)]


def test_places_of_values():
    depth, rate = CategoricalDistribution((0, 1, 2, 3, 4)), FloatDistribution(0.1, 10.0, log=True)
    assert [place(value, depth) for value in depth.choices] == [-1, -0.5, 0, 0.5, 1]
    assert [place(value, rate) for value in (0.1, 1.0, 10.0)] == pytest.approx([-1, 0, 1])
    assert place(0.25, FloatDistribution(0.0, 0.5)) == 0
    assert place("b", CategoricalDistribution(("a", "b"))) == FAR


def test_values_are_of_their_domains_and_all_turn_up():
    trials = random_trials(300)
    for name, domain in SPACE.items():
        values = [trial[name] for trial in trials]
        assert all(domain._contains(domain.to_internal_repr(value)) for value in values)
        if isinstance(domain, CategoricalDistribution):
            assert set(values) == set(domain.choices)
        else:
            assert abs(np.mean([place(value, domain) for value in values])) < 0.15


def test_alike_is_one_for_equals_zero_for_names_and_lacking_settings():
    columns = np.array([[0.0, 0.0], [0.0, FAR], [np.nan, np.nan], [0.7, 0.0]])
    near = np.exp(-0.5)
    expected = [[1, 0.5, 0, (1 + near) / 2], [0.5, 1, 0, near / 2], [0, 0, 0, 0], [(1 + near) / 2, near / 2, 0, 1]]
    np.testing.assert_allclose(alike(columns), expected, atol=1e-12)


def test_a_system_shares_only_itself():
    trials = [{"system": "r3gan", "dropout": 0.1}, {"system": "r3gan", "dropout": 0.4}, random_trials(1)[0]]
    of_gan, _, itself = kernels(places(trials, SPACE))
    assert not of_gan[:2].any() and itself[0].tolist() == [1, 1, 0]


def test_covariances_have_a_root():
    parts = kernels(places([*random_trials(40), {"system": "principal", "dropout": 0.2}], SPACE))
    assert all(np.linalg.eigvalsh(part).min() > -1e-9 for part in parts)


def test_likelihood_is_that_of_the_scores_without_their_mean():
    """The restricted likelihood is that of n - 1 differences of scores."""
    lots = np.random.default_rng(1)
    at = kernels(places(random_trials(12), SPACE))
    scores = lots.normal(size=12)
    differences = np.eye(12)[:-1] - np.eye(12)[1:]

    def by_differences(covariance):
        covariance = differences @ covariance @ differences.T
        rest = differences @ scores
        factor = rest @ np.linalg.solve(covariance, rest) / 11
        return multivariate_normal.logpdf(rest, cov=factor * covariance), factor

    found, expected = [], []
    for shares in SHARES[::5]:
        covariance = np.tensordot(shares, at, 1) + (1 - sum(shares)) * np.eye(12)
        likelihood, *_, factor = fit(covariance, scores)
        plain, plain_factor = by_differences(covariance + 1e-8 * np.eye(12))
        found.append(likelihood)
        expected.append(plain)
        assert factor == pytest.approx(plain_factor, rel=1e-6)
    np.testing.assert_allclose(np.diff(found), np.diff(expected), atol=1e-6)


def test_draws_have_the_posteriors_mean_and_deviation(monkeypatch):
    monkeypatch.setattr("study.search.thompson.SHARES", [(0.3, 0.3, 0.2)])
    trials, lots = random_trials(14), np.random.default_rng(2)
    at, scores = places(trials, SPACE), lots.normal(size=9)
    covariance = np.tensordot((0.3, 0.3, 0.2), kernels(at), 1)
    known = covariance[:9, :9] + 0.2 * np.eye(9)
    inverse = np.linalg.inv(known)
    centre = inverse.sum(axis=1) @ scores / inverse.sum()
    factor = (scores - centre) @ inverse @ (scores - centre) / 8
    mean = centre + covariance[9:, :9] @ inverse @ (scores - centre)
    spread = factor * (covariance[9:, 9:] - covariance[9:, :9] @ inverse @ covariance[:9, 9:])
    draws = np.array([drawn_scores(at, scores, lots) for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), spread, atol=0.06)


def test_what_scores_well_is_chosen():
    lots, trials = np.random.default_rng(3), random_trials(60, seed=4)
    scores = [-abs(trial["dropout"] - 0.4) + 0.3 * (trial["backbone"] == "plain") for trial in trials]
    chosen = [choose(trials, scores, random_trials(200, seed), SPACE, lots) for seed in range(10, 20)]
    assert np.mean([trial["backbone"] == "plain" for trial in chosen]) > 0.8
    assert np.mean([abs(trial["dropout"] - 0.4) for trial in chosen]) < 0.06


@pytest.mark.parametrize("scores", [[], [0.9], [0.5, 0.5, 0.5]])
def test_scores_that_tell_nothing_leave_all_candidates_alike(scores):
    lots, candidates = np.random.default_rng(0), random_trials(5, seed=1)
    tried = random_trials(len(scores))
    chosen = [choose(tried, scores, candidates, SPACE, lots) for _ in range(60)]
    assert all(candidate in chosen for candidate in candidates)


def test_everything_set_leaves_one_trial():
    assert choose([{}, {}, {}], [0.5, 0.6, 0.7], [{}], {}, np.random.default_rng(0)) == {}
