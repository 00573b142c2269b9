"""The threshold, in cases small enough to work out by hand."""

import math

import numpy as np
import pytest

from study.diagnosis.threshold import choose_threshold


def test_threshold_is_the_midpoint_of_greatest_youden_j():
    # J at the five midpoints: 1/3, 2/3, 1/3, 2/3 - ties go to the lower, hence the second gap, 0.2 to 0.4
    labels = [0, 0, 1, 0, 1, 1]
    probabilities = [0.1, 0.2, 0.4, 0.6, 0.7, 0.9]
    assert choose_threshold(labels, probabilities) == pytest.approx(0.3)


def test_threshold_separates_separable_classes_whatever_the_order():
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.75, 0.25, 1.0, 0.0])
    assert choose_threshold(labels, probabilities) == 0.5
    assert choose_threshold(labels[::-1], probabilities[::-1]) == 0.5


def test_threshold_ties_are_exact_in_whole_numbers():
    # J = 1 - 2/3 at the first midpoint and 1/3 - 0 at the last: equal, though not in floating point
    labels = [0, 1, 1, 0, 0, 1]
    probabilities = [0.0, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert (1 - 2 / 3) != (1 / 3 - 0)
    assert choose_threshold(labels, probabilities) == pytest.approx(0.1)


def test_equal_probabilities_are_never_split():
    assert choose_threshold([0, 1, 1, 0, 1], [0.3, 0.3, 0.3, 0.1, 0.9]) == pytest.approx(0.2)


def test_a_constant_classifier_gets_one_half():
    assert choose_threshold([0, 1, 1], [0.8, 0.8, 0.8]) == 0.5


def test_a_diverged_classifier_has_no_threshold():
    with pytest.raises(ValueError, match="diverged"):
        choose_threshold([0, 1], [0.1, math.nan])
