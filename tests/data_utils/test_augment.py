"""Augmentation in batch: what is drawn, and what it does to pixels."""

import pytest
import torch

from data_utils.augment import apply_augmentation, draw_augmentation, to_float, to_uint8


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator())


def parameters(angle=0.0, zoom=1.0, contrast=1.0, mirror=1.0, batch=6):
    return torch.tensor([[angle, zoom, contrast, mirror]]).repeat(batch, 1)


def test_every_byte_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_ranges():
    drawn = draw_augmentation(4000, generator(), rotation=20, zoom=0.1, contrast=0.3)
    for column, low, high in ((0, -20, 20), (1, 0.9, 1.1), (2, 0.7, 1.3)):
        assert low <= drawn[:, column].min() < low + 0.02 * (high - low)
        assert high >= drawn[:, column].max() > high - 0.02 * (high - low)
    assert (drawn[:, 3] < 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert (draw_augmentation(100, generator(), rotation=0, zoom=0, contrast=0, flip=False)[:, 3] == 1).all()


def test_same_generator_same_draw():
    a, b = (draw_augmentation(8, generator(5), rotation=9, zoom=0.2, contrast=0.2) for _ in range(2))
    assert torch.equal(a, b)


def test_shares_of_a_batch_equal_the_whole(images):
    drawn = draw_augmentation(6, generator(), rotation=30, zoom=0.2, contrast=0.2)
    halves = [apply_augmentation(images[half], drawn[half]) for half in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(torch.cat(halves), apply_augmentation(images, drawn))


def test_identity_and_exact_moves(images):
    kept = to_float(images)
    torch.testing.assert_close(apply_augmentation(images, parameters()), kept, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        apply_augmentation(images, parameters(mirror=-1.0)), kept.flip(3), atol=1e-4, rtol=0
    )
    turned = apply_augmentation(images, parameters(angle=180.0))
    torch.testing.assert_close(turned, kept.flip(2, 3), atol=1e-3, rtol=0)


def test_zoom_enlarges_about_the_centre():
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[..., 12:20, 12:20] = 255
    area = [(apply_augmentation(image, parameters(zoom=z, batch=1)) > 0).float().sum() for z in (1.0, 2.0)]
    assert area[1] / area[0] == pytest.approx(4, rel=0.1)


def test_contrast_keeps_the_mean():
    image = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    image[..., :4] = 150
    plain, strong = (apply_augmentation(image, parameters(contrast=c, batch=1)) for c in (1.0, 1.2))
    torch.testing.assert_close(strong.mean(), plain.mean())
    assert strong.std() / plain.std() == pytest.approx(1.2, rel=1e-4)
