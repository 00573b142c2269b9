"""Bands and thresholds keep their promise on new draws of the same distribution."""

import numpy as np
import pytest

from study.bundle.decision import TrainingFeatures, far_threshold, uncertain_band


def draw(rng, count, shift, each=1):
    """Labels, probabilities and groups of `count` wounds with `each` photographs, which are alike."""
    labels = np.repeat(np.arange(count) % 2, each)
    wound = np.repeat(rng.normal(size=count), each)
    noise = wound if each == 1 else 0.95 * wound + 0.3 * rng.normal(size=count * each)
    return labels, 1 / (1 + np.exp(-(noise + shift * (2 * labels - 1)))), np.repeat(np.arange(count), each)


@pytest.mark.parametrize("shift", [0.2, 0.8, 3.0])
def test_the_band_errs_on_at_most_a_twentieth_of_a_class(shift):
    """On average over validations: the promise of split conformal prediction."""
    rng = np.random.default_rng(0)
    below, above, widths = [], [], []
    for _ in range(300):
        low, high = uncertain_band(*draw(rng, 60, shift), threshold=0.5)
        labels, probabilities, _ = draw(rng, 1000, shift)
        below.append((probabilities[labels == 1] < low).mean())
        above.append((probabilities[labels == 0] > high).mean())
        assert low <= 0.5 <= high
        widths.append(high - low)
    assert np.mean(below) <= 0.053 and np.mean(above) <= 0.053
    if shift < 1:  # where the classes overlap, the bound is met and not only kept
        assert np.mean(below) > 0.025 and np.mean(above) > 0.025
    else:  # where they do not, the threshold alone will do
        assert np.mean(widths) < 0.05


def test_many_photographs_of_few_wounds_keep_the_promise():
    """By images, their order statistic would let 7 % of the photographs of new wounds fall outside."""
    rng = np.random.default_rng(0)
    below = []
    for _ in range(300):
        low, _ = uncertain_band(*draw(rng, 60, 0.2, each=12), threshold=0.5)
        labels, probabilities, _ = draw(rng, 1000, 0.2, each=12)
        below.append((probabilities[labels == 1] < low).mean())
    assert 0.025 < np.mean(below) <= 0.053


def test_a_class_in_too_few_groups_rules_nothing_out():
    labels, probabilities = np.array([0] * 18 + [1] * 30), np.linspace(0.01, 0.99, 48)
    low, high = uncertain_band(labels, probabilities, np.arange(48), 0.5)
    assert high == 1 and low > 0
    assert uncertain_band(labels, probabilities, np.arange(48) // 2, 0.5) == (0, 1)


def test_one_image_in_twenty_lies_beyond_the_threshold():
    rng = np.random.default_rng(0)
    beyond = [(rng.chisquare(8, 1000) > far_threshold(rng.chisquare(8, 50), np.arange(50))).mean() for _ in range(300)]
    assert 0.03 < np.mean(beyond) <= 0.0505


def test_distance_is_in_standard_deviations_to_the_nearer_class():
    training = TrainingFeatures(np.array([[0, 0], [10, 0]], np.float32), np.diag([1, 0.5]).astype(np.float32))
    found = training.distance(np.array([[0, 0], [9, 0], [10, 4], [3, 0]], np.float32))
    assert found == pytest.approx([0, 1, 2, 3])
