"""The critic's augmentation: by hand where nothing is random, alike for all of a batch, differentiable."""

import pytest
import torch

from models.augmentation import ADAPTATION, NUM_PARAMETERS, adapted, diff_augment, moved

SIZE = 16
NEUTRAL = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]  # no colour, no shift, the hole in the corner


def images(number: int = 4) -> torch.Tensor:
    return torch.rand(number, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def with_parameters(**changes: float) -> torch.Tensor:
    names = ("brightness", "saturation", "contrast", "down", "right", "row", "column", "chance")
    return torch.tensor([[changes.get(name, value) for name, value in zip(names, NEUTRAL, strict=True)]])


def test_the_neutral_parameters_cut_the_corner_only():
    real = images(1)
    changed = diff_augment(real, with_parameters())
    assert (changed[:, :, : SIZE // 4, : SIZE // 4] == 0).all()
    kept = torch.ones(SIZE, SIZE, dtype=torch.bool)
    kept[: SIZE // 4, : SIZE // 4] = False
    assert torch.allclose(changed[:, :, kept], real[:, :, kept], atol=1e-6)


def test_a_hole_in_the_middle_is_half_a_side_wide():
    hole = diff_augment(torch.ones(1, 3, SIZE, SIZE), with_parameters(row=0.5, column=0.5)) == 0
    assert hole[0, 0].sum() == (SIZE // 2) ** 2 and hole[0, 0, SIZE // 4 : 3 * SIZE // 4, SIZE // 2].all()


@pytest.mark.parametrize(("uniform", "shift"), [(0.0, -2), (0.5, 0), (0.999, 2)])
@pytest.mark.parametrize("dim", [2, 3])
def test_moved_by_whole_pixels_with_zeros_behind(uniform, shift, dim):
    real = images(2)
    found = moved(real, torch.full((2, 1, 1, 1), uniform), dim)
    expected = torch.roll(real, shift, dim)
    behind = slice(0, shift) if shift > 0 else slice(SIZE + shift, SIZE)
    if shift:
        expected.index_fill_(dim, torch.arange(SIZE)[behind], 0)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("brightness", 1.0, lambda x: x + 0.5),
        ("saturation", 0.0, lambda x: x.mean(1, keepdim=True).expand_as(x)),
        ("contrast", 0.0, lambda x: x.mean() + (x - x.mean()) / 2),
    ],
)
def test_colours_by_hand(name, value, expected):
    real = images(1)
    changed = diff_augment(real, with_parameters(**{name: value}))
    assert torch.allclose(changed[..., SIZE // 2 :], expected(real)[..., SIZE // 2 :], atol=1e-5)


def test_each_image_has_its_own_parameters_and_is_changed_with_the_probability():
    real = images(64)
    uniform = torch.rand(64, NUM_PARAMETERS, generator=torch.Generator().manual_seed(1))
    changed = diff_augment(real, uniform, probability=0.5)
    kept = (changed == real).flatten(1).all(dim=1)
    assert torch.equal(kept, uniform[:, 7] >= 0.5)
    alone = diff_augment(real[5:6], uniform[5:6], probability=0.5)
    assert torch.allclose(alone, changed[5:6], atol=1e-6)


def test_a_probability_may_be_a_tensor():
    real, uniform = images(64), torch.rand(64, NUM_PARAMETERS, generator=torch.Generator().manual_seed(1))
    assert torch.equal(diff_augment(real, uniform, torch.tensor(0.5)), diff_augment(real, uniform, 0.5))


@pytest.mark.parametrize(
    ("start", "overfitting", "expected"),
    [(0.5, 1.0, 0.6), (0.5, -1.0, 0.4), (0.5, 0.7, 0.6), (0.5, 0.5, 0.4), (0.95, 1.0, 1.0), (0.05, -1.0, 0.0)],
)
def test_an_adaptive_probability_goes_a_constant_step_to_the_target_and_no_further_than_0_and_1(
    start, overfitting, expected
):
    found = adapted(torch.tensor(start), torch.tensor(overfitting), target=0.6, images=ADAPTATION // 10)
    assert found.item() == pytest.approx(expected)


def test_gradients_reach_every_image():
    real = images().double().requires_grad_()
    uniform = torch.rand(4, NUM_PARAMETERS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    diff_augment(real, uniform).square().sum().backward()
    assert (real.grad.flatten(1).norm(dim=1) > 0).all()
    small = real.detach()[:1, :, :8, :8].contiguous().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, uniform[:1]), small)
