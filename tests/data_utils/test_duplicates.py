"""Changed copies of a picture are found, by its spectrum and by registration, and other pictures are not."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.leakage.changes import CHANGES, noisy, together
from data_utils.duplicates.hashing import SYMMETRIES, turn
from data_utils.duplicates.pairs import find_pairs, signature
from data_utils.duplicates.registration import detail_correlation, show_the_same
from data_utils.duplicates.spectra import VIEWS, candidates, view_matrices
from data_utils.phantoms import render_phantoms

pytestmark = pytest.mark.usefixtures("one_thread")
FOUND = [name for name in CHANGES if name not in ("crop 70 %", "crop 50 %", "turned by 30, crop 70 %")]


@pytest.fixture(scope="module")
def lesions():
    return [Image.fromarray(pixels) for pixels, _, _ in render_phantoms(seed=1, num_lesions=8, views=1)]


@pytest.mark.parametrize("name", FOUND)
def test_a_changed_copy_of_each_picture_is_found(lesions, name):
    signatures = [signature(image) for image in [*lesions, *map(CHANGES[name], lesions)]]
    pairs = find_pairs(signatures, np.arange(16), np.zeros(16, int))
    assert pairs.tolist() == [[number, number + 8] for number in range(8)]


def test_the_order_of_a_pair_does_not_matter(lesions):
    signatures = [signature(image) for image in [CHANGES["crop 80 %, corner"](lesions[0]), lesions[0]]]
    assert find_pairs(signatures, np.arange(2), np.zeros(2, int)).tolist() == [[0, 1]]


def greys_of(images):
    return torch.from_numpy(np.stack([signature(image).grey for image in images])).float()


def registered(greys, colours):
    """Whether the one pair of candidates shows the same."""
    pairs, views = candidates(greys, np.arange(2), lambda *counts: None)
    (same,) = show_the_same(greys, colours, pairs, view_matrices()[views], lambda *counts: None)
    return same


def test_skin_of_one_shape_and_other_detail_is_no_copy():
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    wound, draws = 160 - 60 * np.exp(-((x / 0.5) ** 2 + (y / 0.3) ** 2)), np.random.default_rng(0)
    images = [Image.fromarray((wound + draws.normal(0, 5, wound.shape)).astype(np.uint8)) for _ in range(2)]
    greys = greys_of([image.convert("RGB") for image in images])
    assert not registered(greys, greys[:, None, ::4, ::4].expand(-1, 3, -1, -1))


def test_equal_brightness_in_other_colours_is_no_copy(lesions):
    greys = greys_of([lesions[0]] * 2)
    colours = greys[:, None, ::4, ::4].repeat(1, 3, 1, 1)
    assert registered(greys, colours)
    colours[1, 2] = 255 - colours[1, 2]
    assert not registered(greys, colours)


def test_the_views_matrices_turn_as_the_symmetries_do():
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    matrices = view_matrices()
    assert len(matrices) == len(VIEWS) * len(SYMMETRIES)
    for matrix, symmetry in zip(matrices, SYMMETRIES, strict=False):  # the first view is the whole image
        turned = torch.from_numpy(turn(image.numpy(), symmetry).copy())
        assert detail_correlation(image, turned, matrix[None]).item() == pytest.approx(1, abs=1e-4)


def test_plain_pictures_have_no_copies():
    plain = [Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "red")]
    almost = [noisy(0.2)(image) for image in plain]
    pairs = find_pairs([signature(image) for image in [*plain, *almost]], np.arange(6), np.zeros(6, int))
    assert all(j == i + 3 for i, j in pairs)


def test_two_changes_at_once(lesions):
    change = together(CHANGES["crop 90 %"], CHANGES["gamma 1.3"], CHANGES["JPEG 30"])
    pairs = find_pairs([signature(image) for image in [lesions[3], change(lesions[3])]], np.arange(2), np.zeros(2, int))
    assert pairs.tolist() == [[0, 1]]
