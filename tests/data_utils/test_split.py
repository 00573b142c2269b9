"""70:15:15, stratified and grouped; near-duplicates join their groups."""

import numpy as np
import pytest
from PIL import Image

from data_utils.duplicates.hashing import perceptual_hashes
from data_utils.duplicates.pairs import find_pairs, merge_groups, signature
from data_utils.errors import DataError
from data_utils.phantoms import render_phantoms
from data_utils.split import SHARES, check_class_sizes, given_split, grouped_split, random_split


def many(num_groups=120, each=4):
    groups = np.repeat(np.arange(num_groups), each)
    return (groups % 3 == 0).astype(int), groups


@pytest.mark.parametrize("name", ["grouped", "random"])
def test_shares_and_determinism(name):
    labels, groups = many()
    split = grouped_split(labels, groups, 3) if name == "grouped" else random_split(labels, groups, 3)
    for side, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert (split == side).mean() == pytest.approx(share, abs=0.02)
        assert labels[split == side].mean() == pytest.approx(labels.mean(), abs=0.06)
    again = grouped_split(labels, groups, 3) if name == "grouped" else random_split(labels, groups, 3)
    other = grouped_split(labels, groups, 4) if name == "grouped" else random_split(labels, groups, 4)
    assert (split == again).all() and (split != other).any()


def sides_of_groups(split, groups):
    return [len(set(split[groups == group])) for group in np.unique(groups)]


def test_only_the_random_split_breaks_groups():
    labels, groups = many()
    assert max(sides_of_groups(grouped_split(labels, groups, 0), groups)) == 1
    assert max(sides_of_groups(random_split(labels, groups, 0), groups)) > 1


def test_the_largest_groups_may_be_on_any_side():
    sizes = np.random.default_rng(0).geometric(0.2, size=100)
    groups = np.repeat(np.arange(100), sizes)
    labels, largest = groups % 2, np.argsort(sizes)[-10:]
    splits = [grouped_split(labels, groups, seed) for seed in range(20)]
    sides = np.array([[split[groups == group][0] for group in largest] for split in splits])
    for side, share in SHARES.items():
        assert (sides == side).mean() == pytest.approx(share, abs=0.1)
    for split in splits:
        assert (split == "train").mean() == pytest.approx(0.7, abs=0.02)


def test_impossible_splits():
    in_one = np.r_[np.arange(30), np.full(30, 30)]
    for groups, labels, seen in [
        (np.zeros(60, int), np.arange(60) % 2, r"of 1 group\(s\), 1 hold negatives and 1 positives"),
        (in_one, np.repeat([0, 1], 30), r"of 31 group\(s\), 30 hold negatives and 1 positives"),
    ]:
        with pytest.raises(DataError, match=seen) as error:
            grouped_split(labels, groups, 0)
        assert "--group-pattern" in str(error.value) and "random" not in str(error.value)
    with pytest.raises(DataError, match="19 positive images; at least 20"):
        check_class_sizes(np.array([0] * 30 + [1] * 19))


@pytest.mark.parametrize(
    ("positives", "negatives", "each"), [(8, 40, 5), (3, 3, 20), (3, 60, 7), (4, 9, 20), (19, 19, 3)]
)
def test_a_split_that_exists_is_found(positives, negatives, each):
    """Also where patients are of one class only, and fewer than there are folds."""
    groups = np.repeat(np.arange(positives + negatives), each)
    labels = (groups < positives).astype(int)
    for seed in range(20):
        split = grouped_split(labels, groups, seed)
        assert max(sides_of_groups(split, groups)) == 1
        assert all(set(labels[split == side]) == {0, 1} for side in SHARES)
        assert (split == grouped_split(labels, groups, seed)).all()
        if positives + negatives > 40:
            for side, share in SHARES.items():
                assert (split == side).mean() == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("num_groups", [20, 24, 30, 36])
def test_few_groups_are_divided_as_evenly_as_they_can_be(num_groups):
    """A side with one group of a class has scores that depend on a single patient."""
    groups = np.repeat(np.arange(num_groups), 5)
    labels = groups % 2
    for seed in range(10):
        split = grouped_split(labels, groups, seed)
        places = [(split == side) & (labels == label) for side in ("validation", "test") for label in (0, 1)]
        assert min(len(set(groups[place])) for place in places) >= (2 if num_groups > 20 else 1)


def test_a_searched_split_takes_what_groups_of_both_classes_offer():
    groups = np.repeat(np.arange(5), 12)
    labels = np.where(groups < 3, np.arange(60) % 2, 0)  # positives in three groups, with negatives
    split = grouped_split(labels, groups, 0)
    assert sorted(split[groups == group][0] for group in range(3)) == ["test", "train", "validation"]


def given(sides):
    labels, groups = many(30, 4)
    return labels, groups, np.array(sides, dtype=object)[np.arange(120) % len(sides)]


def test_given_sides_are_taken_as_they_are():
    labels, groups, sides = given(["train", "train", "train", "validation", "test"])
    assert (given_split(labels, groups, 0, sides) == sides).all()
    labels, groups, sides = given(["train"])
    sides[100:] = "test"
    split = given_split(labels, groups, 0, sides)
    assert ((split == "test") == (sides == "test")).all()
    assert (split[sides == "train"] == "validation").mean() == pytest.approx(0.15 / 0.85, abs=0.06)
    assert max(sides_of_groups(split, groups)) == 1


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ([""], "without sides"),
        (["train", "validation"], "no photographs in test"),
        (["train", "", "test"], "on no side"),
    ],
)
def test_sides_that_are_no_split(sides, message):
    labels, groups, sides = given(sides)
    with pytest.raises(DataError, match=f"--split given: .*{message}"):
        given_split(labels, groups, 0, sides)


def test_a_given_side_without_a_class():
    labels, groups, sides = given(["train"])
    sides[np.flatnonzero(labels == 0)[:5]] = "test"
    with pytest.raises(DataError, match="the test side lacks a class"):
        given_split(labels, groups, 0, sides)


def compare(images, groups, labels=None):
    labels = np.zeros(len(images), int) if labels is None else np.array(labels)
    return find_pairs([signature(image) for image in images], np.array(groups), labels).tolist()


@pytest.fixture(scope="module")
def lesions():
    return [Image.fromarray(pixels) for pixels, _, _ in render_phantoms(seed=1, num_lesions=12, views=1)]


@pytest.mark.parametrize(
    "change",
    [
        *(lambda image, turn=turn: image.transpose(turn) for turn in Image.Transpose),
        lambda image: image.transpose(Image.Transpose.ROTATE_90).resize((50, 50)).resize((64, 64)),
        lambda image: image.resize((40, 40)).resize((64, 64)),
        lambda image: image.point(lambda value: value * 0.97),
    ],
)
def test_changed_copies_are_found(lesions, change):
    images = [*lesions, change(lesions[4])]
    assert compare(images, range(13)) == [[4, 12]]
    same_group = [*range(12), 4]
    assert compare(images, same_group) == []  # nothing to merge
    assert compare(images, same_group, [0] * 12 + [1]) == [[4, 12]]  # but a contradiction


def test_smooth_skin_of_other_tone_is_not_a_copy():
    ramp = np.linspace(0, 20, 64)[None, :, None] * np.ones((64, 1, 3))
    light, dark = (
        Image.fromarray((ramp + tone).astype(np.uint8)) for tone in ([200, 160, 140], [120, 80, 60])
    )
    assert np.array_equal(perceptual_hashes(light), perceptual_hashes(dark))
    assert compare([light, dark], [0, 1]) == []


def test_pairs_merge_groups_through_others():
    groups = np.array([0, 0, 1, 2, 3])
    merged = merge_groups(groups, np.array([[1, 2], [2, 3]]))
    assert len(set(merged[:4])) == 1 and merged[4] != merged[0]
