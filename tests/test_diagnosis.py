"""The threshold and the diagnosis metrics, against cases small enough to work out by hand."""

import math

import numpy as np
import pytest

from study.diagnosis import choose_threshold, diagnosis_metrics


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


def test_metrics_by_hand():
    labels = [1, 1, 1, 0, 0]
    probabilities = [0.9, 0.8, 0.3, 0.4, 0.1]  # at 0.35: two true positives, one false one, one missed
    metrics = diagnosis_metrics(labels, probabilities, 0.35, "test")
    assert metrics == {
        "test_accuracy": pytest.approx(3 / 5),
        "test_precision": pytest.approx(2 / 3),
        "test_recall": pytest.approx(2 / 3),
        "test_f1": pytest.approx(2 / 3),
        "test_tpr": pytest.approx(2 / 3),
        "test_fpr": pytest.approx(1 / 2),
        "test_auroc": pytest.approx(5 / 6),  # five of six (infected, not) pairs are in order
        "test_auprc": pytest.approx((1 + 1 + 3 / 4) / 3),  # precision where each infected image is found
        "test_brier": pytest.approx((0.01 + 0.04 + 0.49 + 0.16 + 0.01) / 5),
        "test_num_images": 5,
        "test_num_positive": 3,
    }


def test_an_image_at_the_threshold_is_positive():
    assert diagnosis_metrics([1, 0], [0.5, 0.2], 0.5, "validation")["validation_recall"] == 1


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([0, 0], {"precision", "recall", "f1", "tpr", "auroc", "auprc"}),
        ([1, 1], {"precision", "fpr", "auroc", "auprc"}),
    ],
)
def test_what_is_undefined_is_none_never_nan(labels, undefined):
    metrics = diagnosis_metrics(labels, [0.1, 0.2], 0.5, "validation")  # nothing is called positive
    assert {name for name, value in metrics.items() if value is None} == {f"validation_{name}" for name in undefined}
    assert not any(value is not None and math.isnan(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [0.1], "one of each per image"),
        ([], [], "one of each per image"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, math.nan], "diverged"),
        ([0, 1], [0.1, 1.5], r"\[0, 1\]"),
    ],
)
def test_bad_input_is_refused(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        diagnosis_metrics(labels, probabilities, 0.5, "test")
    with pytest.raises(ValueError, match=message):
        choose_threshold(labels, probabilities)


def test_a_threshold_needs_both_classes():
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold([1, 1], [0.2, 0.3])
