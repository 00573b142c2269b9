"""The metrics, against cases small enough to work out by hand and against other libraries."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from results.stats.metrics import binary_metrics, confidence_bands, expected_calibration_error, reliability_bins


def sample(num_images: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and over-confident probabilities."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, num_images)
    return labels, 1 / (1 + np.exp(-(4 * labels - 2 + 3 * generator.normal(size=num_images))))


def test_metrics_by_hand():
    labels = [1, 1, 1, 0, 0]
    probabilities = [0.9, 0.8, 0.3, 0.4, 0.1]  # from 0.4 on: two true positives, one false one, one missed
    assert binary_metrics(labels, probabilities, 0.4) == {
        "accuracy": pytest.approx(3 / 5),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "mcc": pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)),
        "tpr": pytest.approx(2 / 3),
        "fpr": pytest.approx(1 / 2),
        "auroc": pytest.approx(5 / 6),  # five of six (infected, not) pairs are in order
        "auprc": pytest.approx((1 + 1 + 3 / 4) / 3),  # precision where each infected image is found
        "sensitivity_at_95_specificity": pytest.approx(2 / 3),  # above 0.4
        "brier": pytest.approx((0.01 + 0.04 + 0.49 + 0.16 + 0.01) / 5),
        "ece": pytest.approx((0.1 + 0.2 + 0.7 + 0.4 + 0.1) / 5),  # each image alone in its bin
        "num_images": 5,
        "num_positive": 3,
    }


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([0, 0], {"precision", "recall", "f1", "mcc", "tpr", "auroc", "auprc", "sensitivity_at_95_specificity"}),
        ([1, 1], {"precision", "fpr", "mcc", "auroc", "auprc", "sensitivity_at_95_specificity"}),
        ([0, 1], {"precision", "mcc"}),
    ],
)
def test_what_is_undefined_is_none_never_nan(labels, undefined):
    metrics = binary_metrics(labels, [0.1, 0.2], 0.5)  # nothing is called positive
    assert {name for name, value in metrics.items() if value is None} == undefined
    assert not any(value is not None and math.isnan(value) for value in metrics.values())


@pytest.mark.parametrize("num_negative", [20, 60, 140])
def test_exactly_one_false_alarm_in_twenty_is_95_percent_specificity(num_negative):
    # Scores fall: the allowed false alarms, an infected image, one false alarm too many, an infected image.
    allowed = num_negative // 20
    labels = np.array([0] * allowed + [1, 0, 1] + [0] * (num_negative - allowed - 1))
    probabilities = np.linspace(1, 0, len(labels))
    assert binary_metrics(labels, probabilities, 0.5)["sensitivity_at_95_specificity"] == 0.5
    too_many = np.full_like(probabilities, 0.9)  # at any threshold
    assert binary_metrics(labels, too_many, 0.5)["sensitivity_at_95_specificity"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_is_that_of_torchmetrics(seed):
    labels, probabilities = sample(seed=seed)
    theirs = BinaryCalibrationError(n_bins=15)(torch.tensor(probabilities), torch.tensor(labels)).item()
    assert expected_calibration_error(labels, probabilities) == pytest.approx(theirs, abs=1e-6)


def test_reliability_bins_hold_every_image_once_and_name_no_empty_bin():
    labels, probabilities = [1, 0, 1, 1, 0], [0.0, 1 / 15, 0.07, 0.995, 1.0]
    first, second, last = reliability_bins(labels, probabilities)
    assert first == {"low": 0, "high": 1 / 15, "mean_probability": 0, "share_positive": 1, "num_images": 1}
    assert (second["num_images"], second["share_positive"]) == (2, 0.5)  # its lower edge belongs to a bin
    assert last["high"] == 1
    assert (last["num_images"], last["mean_probability"]) == (2, pytest.approx(0.9975))


def test_bands_of_the_paper_hold_their_ends_and_say_what_came_true():
    labels, probabilities = [1, 1, 0, 1, 0, 0], [0.94, 0.99, 1.0, 0.54, 0.79, 0.8]
    severe, ambiguous = confidence_bands(labels, probabilities)
    assert (severe["band"], severe["num_images"], severe["share_positive"]) == ("severe", 3, pytest.approx(2 / 3))
    assert (ambiguous["band"], ambiguous["num_images"], ambiguous["share_positive"]) == ("ambiguous", 2, 0.5)
    assert ambiguous["mean_probability"] == pytest.approx((0.54 + 0.79) / 2)
    assert [band["share_positive"] for band in confidence_bands([0, 1], [0.1, 0.2])] == [None, None]


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
        binary_metrics(labels, probabilities, 0.5)
    with pytest.raises(ValueError, match=message):
        reliability_bins(labels, probabilities)
