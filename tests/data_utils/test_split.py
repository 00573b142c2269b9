"""70:15:15, stratified and grouped; near-duplicates join their groups."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_utils.errors import DataError
from data_utils.near_duplicates import find_pairs, merge_groups, perceptual_hashes, thumbnail
from data_utils.phantoms import render_phantoms
from data_utils.split import check_class_sizes, grouped_split, random_split


def many(num_groups=120, each=4):
    groups = np.repeat(np.arange(num_groups), each)
    return (groups % 3 == 0).astype(int), groups


@pytest.mark.parametrize("name", ["grouped", "random"])
def test_shares_and_determinism(name):
    labels, groups = many()
    split = grouped_split(labels, groups, 3) if name == "grouped" else random_split(labels, 3)
    for side, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert (split == side).mean() == pytest.approx(share, abs=0.02)
        assert labels[split == side].mean() == pytest.approx(labels.mean(), abs=0.06)
    again = grouped_split(labels, groups, 3) if name == "grouped" else random_split(labels, 3)
    other = grouped_split(labels, groups, 4) if name == "grouped" else random_split(labels, 4)
    assert (split == again).all() and (split != other).any()


def sides_of_groups(split, groups):
    return [len(set(split[groups == group])) for group in np.unique(groups)]


def test_only_the_random_split_breaks_groups():
    labels, groups = many()
    assert max(sides_of_groups(grouped_split(labels, groups, 0), groups)) == 1
    assert max(sides_of_groups(random_split(labels, 0), groups)) > 1


def test_impossible_splits():
    labels = np.arange(60) % 2
    with pytest.raises(DataError, match=r"1 group\(s\).*--group-pattern"):
        grouped_split(labels, np.zeros(60, int), 0)
    with pytest.raises(DataError, match="lack a class"):
        grouped_split(np.repeat([0, 1], 30), np.r_[np.arange(30), np.full(30, 30)], 0)  # all positives in one
    with pytest.raises(DataError, match="19 positive images; at least 20"):
        check_class_sizes(np.array([0] * 30 + [1] * 19))


def compare(images, groups):
    hashes, thumbnails = (
        np.stack([perceptual_hashes(i) for i in images]),
        np.stack([thumbnail(i) for i in images]),
    )
    return find_pairs(hashes, thumbnails, np.array(groups)).tolist()


@pytest.fixture(scope="module")
def lesions():
    return [Image.fromarray(pixels) for pixels, _, _ in render_phantoms(seed=1, num_lesions=12, views=1)]


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        ImageOps.flip,
        lambda image: image.transpose(Image.Transpose.ROTATE_180),
        lambda image: image.resize((40, 40)).resize((64, 64)),
        lambda image: image.point(lambda value: value * 0.97),
    ],
)
def test_changed_copies_are_found(lesions, change):
    images = [*lesions, change(lesions[4])]
    assert compare(images, range(13)) == [[4, 12]]
    assert compare(images, [*range(12), 4]) == []  # of the same group: nothing to merge


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
