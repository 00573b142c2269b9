"""Training sets with repeated and synthetic images, and the test sets of a trained classifier."""

import numpy as np
import pytest
import torch

from data_utils.corruptions import CORRUPTIONS
from data_utils.dataset import even_places
from study.diagnosis.sets import (
    SYNTHETIC_GROUP,
    Condition,
    corrupted_tests,
    external_test,
    missing_labels,
    mix,
    oversample,
    oversample_rarer,
    predictions,
)


@pytest.mark.parametrize("oversampling", [0.25, 1.0, 2.5])
def test_oversampling_repeats_real_training_images(phantoms, oversampling):
    train, more = phantoms.side("train"), oversample(phantoms, oversampling).side("train")
    added = round(oversampling * len(train.labels))
    assert len(more.labels) == len(train.labels) + added
    assert set(more.image_ids) == set(train.image_ids)
    share = more.labels[len(train.labels) :].float().mean().item()
    assert share == pytest.approx(train.labels.float().mean().item(), abs=0.04)
    by_id = dict(zip(train.image_ids, zip(train.images, train.labels, train.groups, strict=True), strict=True))
    for image_id, image, label, group in zip(more.image_ids, more.images, more.labels, more.groups, strict=True):
        real = by_id[image_id]
        assert torch.equal(image, real[0]) and label == real[1] and group == real[2]
    if oversampling == 1:
        assert np.unique(more.image_ids, return_counts=True)[1].max() == 2  # each once more


def test_oversampling_leaves_validation_and_test_alone(phantoms):
    for side in ("validation", "test"):
        assert torch.equal(oversample(phantoms, 1).side(side).images, phantoms.side(side).images)


@pytest.mark.parametrize("rarer", [0, 1])
def test_the_rarer_class_is_repeated_until_both_are_equal(phantoms, rarer):
    kept = (phantoms.split != "train") | (phantoms.labels.numpy() != rarer) | (np.arange(len(phantoms.labels)) % 5 == 0)
    few = phantoms.keep(kept)
    train, more = few.side("train"), oversample_rarer(few).side("train")
    counts = train.labels.bincount().tolist()
    assert counts[rarer] < counts[1 - rarer] and more.labels.bincount().tolist() == [counts[1 - rarer]] * 2
    assert missing_labels(train.labels).tolist() == [rarer] * (counts[1 - rarer] - counts[rarer])
    repeats = np.unique(more.image_ids[more.labels.numpy() == rarer], return_counts=True)[1]
    assert len(repeats) == counts[rarer] and repeats.max() - repeats.min() <= 1
    assert set(more.image_ids[len(train.labels) :]) <= set(train.image_ids[train.labels.numpy() == rarer])
    assert torch.equal(oversample_rarer(few).side("test").images, few.side("test").images)


def test_equal_classes_lack_nothing():
    assert missing_labels(torch.tensor([0, 1, 1, 0])).tolist() == []


def test_even_places_keep_the_proportions():
    labels = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0])
    assert labels[even_places(labels, 4)].tolist() == [0, 0, 0, 1]
    assert sorted(even_places(labels, 8).tolist()) == list(range(8))


def test_synthetic_only_holds_no_real_image(phantoms):
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    labels = torch.tensor([0, 0, 1, 1])
    train = mix(phantoms, images, labels, keep_real=False).side("train")
    assert torch.equal(train.images, images) and set(train.groups) == {SYNTHETIC_GROUP}


# ---- test sets


def test_every_corruption_at_every_strength(phantoms):
    test = phantoms.side("test")
    conditions = dict(corrupted_tests(test))
    assert len(conditions) == 3 * len(CORRUPTIONS) and all(c.side == "test" for c in conditions)
    for condition, side in conditions.items():
        assert side.images.shape == test.images.shape and side.images.dtype == torch.uint8
        assert not torch.equal(side.images, test.images), condition
        assert torch.equal(side.labels, test.labels) and (side.image_ids == test.image_ids).all()


def test_all_of_an_external_data_set_is_tested(phantoms):
    ((condition, side),) = external_test(phantoms)
    assert condition == Condition("external") and len(side.labels) == len(phantoms.labels)


def test_predictions_name_image_and_condition(phantoms):
    test = phantoms.side("test")
    rows = predictions(Condition("test", "blur", 2), test, np.linspace(0, 1, len(test.labels)))
    assert len(rows) == len(test.labels)
    assert rows[-1] == {
        "side": "test", "corruption": "blur", "strength": 2, "image_id": test.image_ids[-1],
        "group": test.groups[-1], "label": test.labels[-1].item(), "probability": 1.0,
    }  # fmt: skip
