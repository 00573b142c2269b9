"""Parts of the training groups: nested, alike in classes, and the rest untouched."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_utils.dataset import Dataset, training_subset
from data_utils.errors import DataError

FRACTIONS = (0.1, 0.25, 0.5)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Training groups: 40 negative, 20 positive, 20 of both, of 1 to 4 images each; 10 groups on the other sides."""
    kinds = ["negative"] * 40 + ["positive"] * 20 + ["both"] * 20
    rows = [
        ("train", f"{kind} {number}", label)
        for number, kind in enumerate(kinds)
        for label in {"negative": [0] * (1 + number % 4), "positive": [1, 1], "both": [0, 1]}[kind]
    ]
    rows += [(side, f"{side} {number}", number % 2) for side in ("validation", "test") for number in range(10)]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    split, groups, labels = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    images = torch.arange(len(rows), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    ids = np.array([str(number) for number in range(len(rows))], dtype=object)
    labels = torch.tensor(labels.astype(np.int64))
    return Dataset(images, labels, split, groups, ids, "fingerprint", ("healthy", "infected"), Path("x"))


def kinds(dataset: Dataset) -> dict[str, int]:
    names = [group.split()[0] for group in set(dataset.side("train").groups)]
    return {kind: names.count(kind) for kind in ("negative", "positive", "both")}


def test_everything(dataset):
    assert training_subset(dataset, 1.0, 0) is dataset


@pytest.mark.parametrize("seed", range(3))
def test_nested_and_stratified(dataset, seed):
    ids = [set(training_subset(dataset, fraction, seed).image_ids) for fraction in FRACTIONS]
    assert ids[0] < ids[1] < ids[2] < set(dataset.image_ids)
    for fraction in FRACTIONS:
        subset = training_subset(dataset, fraction, seed)
        assert kinds(subset) == {"negative": 40 * fraction, "positive": 20 * fraction, "both": 20 * fraction}


def test_whole_groups_and_matching_rows(dataset):
    subset = training_subset(dataset, 0.25, 0)
    kept = np.isin(dataset.groups, subset.groups)
    assert (dataset.image_ids[kept] == subset.image_ids).all()
    rows = subset.image_ids.astype(int)
    assert (subset.images[:, 0, 0, 0] == torch.tensor(rows)).all()
    assert (subset.labels == dataset.labels[rows]).all()
    assert (subset.split == dataset.split[rows]).all() and (subset.groups == dataset.groups[rows]).all()
    assert subset.fingerprint == dataset.fingerprint


def test_other_sides_stay(dataset):
    subset = training_subset(dataset, 0.1, 0)
    for side in ("validation", "test"):
        assert (subset.side(side).image_ids == dataset.side(side).image_ids).all()
        assert torch.equal(subset.side(side).images, dataset.side(side).images)


def test_seed_decides_and_salt_does_not(dataset):
    subset = training_subset(dataset, 0.5, 0)
    salted = replace(dataset, groups=np.array([hash((3, group)) for group in dataset.groups], dtype=object))
    assert (training_subset(salted, 0.5, 0).image_ids == subset.image_ids).all()
    assert set(training_subset(dataset, 0.5, 1).groups) != set(subset.groups)


def test_random_split_keeps_test_images_of_left_out_groups(dataset):
    """Where a group lies on both sides, only its training images can go."""
    split = np.where(np.arange(len(dataset.split)) % 3 == 0, "test", "train").astype(object)
    random = replace(dataset, split=split)
    subset = training_subset(random, 0.25, 0)
    assert (subset.side("test").image_ids == random.side("test").image_ids).all()
    num_groups = len(set(random.side("train").groups))
    assert len(set(subset.side("train").groups)) == pytest.approx(num_groups / 4, abs=2)


@pytest.mark.parametrize("fraction", [0.0, 0.01])
def test_a_class_left_without_images(dataset, fraction):
    with pytest.raises(DataError, match=r"of 80 training groups leaves none that holds 'healthy'"):
        training_subset(dataset, fraction, 0)


@pytest.mark.parametrize("seed", range(3))
def test_only_groups_with_a_positive_become_fewer(dataset, seed):
    """Whole groups: where one holds both classes, its negatives go, too."""
    parts = [training_subset(dataset, 1.0, seed, share) for share in (0.1, 0.25, 0.5)]
    ids = [set(part.image_ids) for part in parts]
    assert ids[0] < ids[1] < ids[2] < set(dataset.image_ids)
    for part, share in zip(parts, (0.1, 0.25, 0.5), strict=True):
        assert kinds(part) == {"negative": 40, "positive": 20 * share, "both": 20 * share}
        train, whole = part.side("train"), dataset.side("train")
        assert set(train.image_ids) == set(whole.image_ids[np.isin(whole.groups, train.groups)])
        for side in ("validation", "test"):
            assert (part.side(side).image_ids == dataset.side(side).image_ids).all()


def test_both_fractions_together(dataset):
    part = training_subset(dataset, 0.5, 0, 0.2)
    assert kinds(part) == {"negative": 20, "positive": 2, "both": 2}
    assert set(part.image_ids) < set(training_subset(dataset, 0.5, 0).image_ids)


def test_no_positive_group_left(dataset):
    with pytest.raises(DataError, match=r"leaves none that holds 'infected', with positive_fraction=0\.01"):
        training_subset(dataset, 1.0, 0, 0.01)
