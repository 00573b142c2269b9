"""Bootstrap, tests of differences and Holm, against brute force, scipy and hand-computed cases."""

import numpy as np
import pytest
import scipy.stats

from results.stats.bootstrap import GroupBootstrap
from results.stats.metrics import binary_metrics
from results.stats.power import Spread, detectable_gain
from results.stats.significance import (
    Difference,
    accuracy_covariance,
    auroc_covariance,
    holm,
    independent_difference,
    paired_difference,
)
from results.stats.weighted import weighted_auroc, weighted_metrics


def clustered(generator, num_groups: int = 120, separation: float = 1.6):
    """Labels, groups and the part of a score that all classifiers see, like a test side of photographs of wounds.

    Groups of 1 to 6 images, mostly of one class; 70 % of the variance is common to a group.
    """
    groups = np.repeat(np.arange(num_groups), generator.integers(1, 7, num_groups))
    labels = (generator.random(len(groups)) < generator.beta(0.5, 0.5, num_groups)[groups]).astype(int)
    common, own = generator.normal(size=num_groups)[groups], generator.normal(size=len(groups))
    return labels, groups, np.sqrt(0.7) * common + np.sqrt(0.3) * own + separation * labels


def auroc_distribution(labels, groups, scores):
    """Bootstrap distribution of the mean AUROC of `scores` (S, N)."""
    bootstrap = GroupBootstrap(groups)
    values = [bootstrap.measure(lambda w, row=row: {"auroc": weighted_auroc(labels, row, w)}) for row in scores]
    return bootstrap.distribution(np.stack([value["auroc"] for value in values]))


# ---- metrics under weights


@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_a_weight_is_that_many_copies_of_an_image(decimals):
    generator = np.random.default_rng(decimals)
    labels, probabilities = generator.integers(0, 2, 60), generator.random(60).round(decimals)
    weights = generator.poisson(1, (60, 20)).astype(float)
    for number in range(20):
        copies = np.repeat(np.arange(60), weights[:, number].astype(int))
        expected = binary_metrics(labels[copies], probabilities[copies], 0.45)
        for name, values in weighted_metrics(labels, probabilities, 0.45, weights).items():
            assert values[number] == pytest.approx(expected[name], abs=1e-12), name


def test_exactly_5_percent_false_alarms_are_allowed_under_weights_too():
    labels = np.array([0, 1, 0, 1] + [0] * 18)  # one false alarm of 20, infected, one too many, infected
    weights = np.stack([np.full(22, 1.0), np.full(22, 3.0), np.r_[1.0, np.ones(20), 0]], axis=1)
    found = weighted_metrics(labels, np.linspace(1, 0, 22), 0.5, weights)["sensitivity_at_95_specificity"]
    assert found.tolist() == [0.5, 0.5, 0]


def test_what_a_weighting_leaves_undefined_is_nan():
    weights = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0.0]])  # both classes, one, nothing
    metrics = weighted_metrics(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), 0.5, weights)
    defined = {name: (~np.isnan(values)).tolist() for name, values in metrics.items()}
    assert defined["auroc"] == defined["auprc"] == defined["fpr"] == [True, False, False]
    assert defined["tpr"] == defined["accuracy"] == defined["ece"] == [True, True, False]
    assert defined["mcc"] == [False] * 3  # nothing is called positive


# ---- bootstrap


def test_as_many_seeds_as_groups_are_drawn_independently_of_them():
    """Value of a seed and a group: the sum of their effects, which are equal. One draw for both would double them."""
    effects = np.random.default_rng(0).normal(size=10)
    bootstrap = GroupBootstrap(np.arange(10))
    of_groups = bootstrap.measure(lambda weights: {"mean": effects @ weights / weights.sum(axis=0)})["mean"]
    found = bootstrap.distribution(effects[:, None] + of_groups)
    assert found.standard_error == pytest.approx(np.sqrt(2 * effects.var(ddof=1) / 10), rel=0.05)


def test_groups_are_drawn_whole_and_left_out_one_by_one():
    groups = np.array(["b", "a", "b", "c", "a"])
    weights = []
    GroupBootstrap(groups).measure(lambda w: weights.append(w) or {})
    weights = np.concatenate(weights, axis=1)
    assert (weights[0] == weights[2]).all() and (weights[1] == weights[4]).all()
    assert weights[:, :4].T.tolist() == [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 0, 1, 1], [1, 1, 1, 0, 1]]
    drawn = weights[[0, 1, 3], 4:]
    assert (drawn.sum(axis=0) == 2).all()
    assert drawn.mean() == pytest.approx(2 / 3) and (drawn > 1).any()


def test_the_interval_is_scipys_over_groups():
    labels, groups, scores = clustered(np.random.default_rng(0))
    num_groups = groups.max() + 1

    def auroc(drawn, axis):  # (..., G) numbers of groups
        counts = np.apply_along_axis(np.bincount, -1, np.atleast_2d(drawn), minlength=num_groups)
        values = weighted_auroc(labels, scores, counts.T[groups].astype(float))
        return values if np.ndim(drawn) > 1 else values[0]

    theirs = scipy.stats.bootstrap(
        (np.arange(num_groups),), auroc, n_resamples=9999, batch=1000, vectorized=True, rng=np.random.default_rng(0)
    )
    low, high = auroc_distribution(labels, groups, scores[None]).interval()
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.07 * width)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.07 * width)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_spread_between_few_seeds_enters_unbiased(num_seeds):
    of_seed = np.random.default_rng(num_seeds).random(num_seeds)
    groups = np.arange(20)
    values = np.repeat(of_seed[:, None], 1 + 20 + 2000, axis=1)  # the same under all resamples of images
    distribution = GroupBootstrap(groups).distribution(values)
    assert distribution.value == pytest.approx(of_seed.mean())
    assert distribution.standard_error == pytest.approx(of_seed.std(ddof=1) / np.sqrt(num_seeds), rel=0.06)


def test_arms_on_the_same_images_are_paired_and_other_images_independent():
    labels, groups, scores = clustered(np.random.default_rng(1))
    first = auroc_distribution(labels, groups, scores[None])
    again = auroc_distribution(labels, groups, scores[None])
    elsewhere = auroc_distribution(labels, groups + 1000, scores[None])
    assert (first.replicates == again.replicates).all()
    assert abs(np.corrcoef(first.replicates, elsewhere.replicates)[0, 1]) < 0.1
    error = (first - elsewhere).standard_error
    assert error == pytest.approx(np.hypot(first.standard_error, elsewhere.standard_error), rel=0.1)


def test_no_interval_where_resampling_cannot_tell():
    labels = np.tile([0, 1], 20)
    perfect, noisy = labels[None].astype(float), np.random.default_rng(0).random((1, 40))
    each, four = np.arange(40), np.arange(40) // 10
    rare = np.zeros(40, dtype=int)
    rare[:2] = 1
    assert auroc_distribution(labels, each, noisy).interval() != (None, None)
    assert auroc_distribution(labels, each, perfect).interval() == (None, None)  # not certainly 1
    assert auroc_distribution(labels, four, noisy).interval() == (None, None)
    assert auroc_distribution(rare, each, noisy).interval() == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize("separation", [1.6, 2.25])  # AUROC 0.87 and the paper's 0.945
def test_the_interval_covers_95_percent_clustered_and_too_few_unclustered(separation):
    generator = np.random.default_rng(0)
    truth = scipy.stats.norm.cdf(separation / np.sqrt(2))
    covered = {"clustered": 0, "unclustered": 0}
    for _ in range(500):
        labels, groups, scores = clustered(generator, separation=separation)
        for name, units in (("clustered", groups), ("unclustered", np.arange(len(groups)))):
            low, high = auroc_distribution(labels, units, scores[None]).interval()
            covered[name] += low <= truth <= high
    assert 0.93 <= covered["clustered"] / 500 <= 0.97
    assert covered["unclustered"] / 500 < 0.88


# ---- differences of AUROC and accuracy


def paired_auroc(labels, a, b, groups) -> Difference:
    measured = auroc_covariance(labels, np.concatenate([a, b]), groups)
    return paired_difference(*measured, len(set(groups)))


def components(labels, row) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components by all pairs: V10 of the positives, V01 of the negatives."""
    pairs = np.array([[(p > n) + (p == n) / 2 for n in row[labels == 0]] for p in row[labels == 1]])
    return pairs.mean(axis=1), pairs.mean(axis=0)


def test_covariance_of_single_images_is_delongs_by_all_pairs():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50)
    scores = (generator.normal(size=(2, 50)) + labels).round(1)  # ties
    aurocs, covariance = auroc_covariance(labels, scores, np.arange(50))
    v10, v01 = zip(*(components(labels, row) for row in scores), strict=True)
    assert aurocs == pytest.approx([v.mean() for v in v10])
    assert covariance == pytest.approx(np.cov(v10) / labels.sum() + np.cov(v01) / (50 - labels.sum()))
    result = paired_auroc(labels, scores[:1], scores[1:], np.arange(50))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert result.value == pytest.approx(aurocs[0] - aurocs[1])
    assert result.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(result.value) / error, 49))


def test_variance_of_groups_is_obuchowskis_written_out():
    labels, groups, scores = clustered(np.random.default_rng(2), num_groups=15)
    v10, v01 = components(labels, scores)
    auroc, m, n = v10.mean(), labels.sum(), (1 - labels).sum()
    of_positive, of_negative = groups[labels == 1], groups[labels == 0]
    s10 = s01 = s11 = 0
    for group in range(15):
        x = sum(v10[of_positive == group] - auroc)
        y = sum(v01[of_negative == group] - auroc)
        s10, s01, s11 = s10 + x * x, s01 + y * y, s11 + x * y
    i10, i01 = len(set(of_positive)), len(set(of_negative))
    expected = i10 / (i10 - 1) * s10 / m**2 + i01 / (i01 - 1) * s01 / n**2 + 2 * 15 / 14 * s11 / (m * n)
    assert i10 < 15 > i01  # the three counts differ from each other's
    assert auroc_covariance(labels, scores[None], groups)[1].item() == pytest.approx(expected)


def test_covariance_of_accuracies_is_that_of_a_mean_of_clusters():
    generator = np.random.default_rng(7)
    correct, groups = generator.random((2, 60)) < 0.8, np.repeat(np.arange(20), 3)  # of equal size: a plain mean
    accuracies, covariance = accuracy_covariance(correct, groups)
    means = correct.reshape(2, 20, 3).mean(axis=2)
    assert accuracies == pytest.approx(correct.mean(axis=1))
    assert covariance == pytest.approx(np.cov(means) / 20)


def test_copies_of_an_image_in_its_group_add_no_certainty():
    generator = np.random.default_rng(3)
    labels = np.tile([0, 1], 20)
    scores = generator.normal(size=(2, 40)) + labels
    once = paired_auroc(labels, scores[:1], scores[1:], np.arange(40))
    copied = [np.repeat(x, 5, axis=-1) for x in (labels, scores[:1], scores[1:], np.arange(40))]
    assert paired_auroc(*copied).p_value == pytest.approx(once.p_value)
    assert paired_auroc(*copied[:3], np.arange(200)).p_value < once.p_value / 2


def test_the_same_network_under_three_seeds_counts_once():
    labels, groups, scores = clustered(np.random.default_rng(4), num_groups=40)
    arms = np.stack([scores, scores + np.random.default_rng(5).normal(size=len(scores))])
    once = paired_auroc(labels, arms[:1], arms[1:], groups)
    thrice = paired_auroc(labels, arms[[0, 0, 0]], arms[[1, 1, 1]], groups)
    assert thrice.p_value == pytest.approx(once.p_value)
    assert once.degrees_of_freedom == pytest.approx(39) == thrice.degrees_of_freedom


def test_with_much_of_the_spread_between_seeds_the_paired_test_is_students():
    labels = np.repeat([0, 1], 200)
    generator = np.random.default_rng(6)
    a = np.stack([labels * gain + generator.normal(size=400) for gain in (0.2, 1.5, 3.0)])
    b = np.stack([labels * gain + generator.normal(size=400) for gain in (1.0, 1.0, 1.0)])
    result = paired_auroc(labels, a, b, np.arange(400))
    differences = [scipy.stats.mannwhitneyu(x[200:], x[:200]).statistic / 200**2 for x in (*a, *b)]
    differences = np.subtract(differences[:3], differences[3:])
    assert result.p_value == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert 2 <= result.degrees_of_freedom < 2.2


def test_without_variance_over_images_the_independent_test_is_welchs():
    a, b = np.array([0.9, 0.95, 0.85, 0.97]), np.array([0.8, 0.82, 0.81, 0.83])
    none = (np.empty(0), np.empty(0))
    found = independent_difference(np.concatenate([a, b]), np.zeros((8, 8)), 100, none)
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert found.p_value == pytest.approx(theirs.pvalue) and found.degrees_of_freedom == pytest.approx(theirs.df)
    assert found.interval == pytest.approx(theirs.confidence_interval(0.95))


def test_earlier_trainings_tell_the_spread_and_not_the_mean():
    values, earlier = np.array([0.9, 0.8, 0.7, 0.6]), (np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.5, 0.8]))
    found = independent_difference(values, np.zeros((4, 4)), 100, earlier)
    spread = [(0.005 + 0.02) / 3, (0.005 + 0.06) / 3]  # squares of the judging and of the earlier seeds, 1 + 2 degrees
    assert found.value == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(np.sqrt(sum(spread) / 2))
    assert found.degrees_of_freedom == pytest.approx(sum(spread) ** 2 / sum(s**2 / 3 for s in spread))


def test_shared_test_images_are_an_error_that_no_number_of_seeds_removes():
    covariance = np.kron([[4.0, 0], [0, 2]], np.ones((10, 10)))  # an arm's seeds err alike, the arms apart
    found = independent_difference(np.repeat([0.9, 0.8], 10), covariance, 30, (np.empty(0), np.empty(0)))
    assert found.standard_error == pytest.approx(np.sqrt(6)) and found.degrees_of_freedom == pytest.approx(29)


@pytest.mark.parametrize("independent", [False, True])
def test_seeds_that_agree_by_chance_are_no_certainty(independent):
    """Two seeds of equal accuracies, which are wrong about other images: once p was 0, without an interval."""
    correct = np.ones((4, 60))
    correct[0, :9] = correct[1, 9:18] = correct[2, 18:21] = correct[3, 21:24] = 0
    measured = accuracy_covariance(correct, np.arange(60))
    none = (np.empty(0), np.empty(0))
    found = independent_difference(*measured, 60, none) if independent else paired_difference(*measured, 60)
    of_these = correct[:2].mean(axis=0) - correct[2:].mean(axis=0)
    assert found.value == pytest.approx(-0.1)
    assert found.standard_error == pytest.approx(np.sqrt(of_these.var(ddof=1) / 60))
    assert found.degrees_of_freedom == pytest.approx(59)


@pytest.mark.parametrize(("other", "p_value"), [([0.1, 0.2, 0.8, 0.9], 1), ([0.5, 0.5, 0.5, 0.5], None)])
def test_without_any_variance_only_equal_aurocs_are_told_from_others(other, p_value):
    labels, perfect = [0, 0, 1, 1], np.array([[0.1, 0.2, 0.8, 0.9]])
    found = paired_auroc(labels, perfect, np.array([other]), [1, 2, 3, 4])
    assert (found.p_value, found.interval) == (p_value, (None, None))


@pytest.mark.parametrize(("negative_groups", "lowest", "highest"), [(1, 0.15, 0.4), (5, 0, 0.06)])
def test_a_class_needs_five_groups_for_a_verdict(negative_groups, lowest, highest):
    """Arms of equal worth that see each wound differently, 20 positive ones: how often Welch's test errs."""
    wrong = np.mean([arms_differ(np.random.default_rng(seed), negative_groups) for seed in range(500)])
    print(f"\n{negative_groups} negative groups: {wrong:.1%} wrong")
    assert lowest <= wrong <= highest


def arms_differ(generator, negative_groups: int, judging: int = 5, choosing: int = 3) -> bool:
    """Whether accuracy or AUROC of two simulated arms differ at the 5 % level of Holm; 60 images a class."""
    sizes = [60 // negative_groups] * negative_groups + [3] * 20
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = (groups >= negative_groups).astype(int)
    common = np.sqrt(0.5) * generator.normal(size=len(sizes))[groups]
    common += np.sqrt(0.3) * generator.normal(size=len(groups))
    arms = []
    for _ in range(2):
        own = 0.5 * generator.normal(size=len(sizes))[groups]
        of_trainings = np.sqrt(0.2) * generator.normal(size=(judging + choosing, len(groups)))
        arms.append(common + own + of_trainings + 1.04 * (2 * labels - 1))  # accuracy 0.85
    scores = np.concatenate([arm[choosing:] for arm in arms])
    accuracies, aurocs = zip(*(
        (accuracy_covariance((part > 0) == labels, groups), auroc_covariance(labels, part, groups))
        for part in (scores, *(arm[:choosing] for arm in arms))
    ), strict=True)  # fmt: skip
    tests = [
        independent_difference(*judged, len(sizes), tuple(values for values, _ in earlier))
        for judged, *earlier in (accuracies, aurocs)
    ]
    return min(holm([test.p_value for test in tests])) < 0.05


# ---- power


def test_a_gain_of_that_size_is_shown_in_four_of_five_tries():
    error, freedom = 0.02, 12
    gain = detectable_gain(error, freedom)
    draws = np.random.default_rng(0)
    found = gain + error * draws.normal(size=20000)
    measured = error * np.sqrt(draws.chisquare(freedom, 20000) / freedom)
    assert np.mean(found / measured > scipy.stats.t.ppf(1 - 0.025 / 2, freedom)) == pytest.approx(0.8, abs=0.015)


def test_seeds_needed_are_the_least_that_are_enough():
    spread = Spread(of_training=0.03**2, shared=0.001**2, num_groups=100)
    needed = spread.seeds_needed(0.03, num_choosing=3)
    assert spread.detectable(needed, 3) <= 0.03 < spread.detectable(needed - 1, 3)
    assert Spread(0.03**2, 0.02**2, 100).seeds_needed(0.03, 3) is None  # the test images alone hide it


# ---- Holm


def test_holm_by_hand():
    # sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1])
    assert holm([]).tolist() == []
