"""Six faults of a photograph, each worse with its strength."""

import numpy as np
import pytest
import torch
from torch import Tensor

from data_utils.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_utils.phantoms import render_phantoms


@pytest.fixture(scope="module", params=[32, 64])
def images(request) -> Tensor:
    """6 wound phantoms, uint8 (6, 3, S, S)"""
    rendered = render_phantoms(num_lesions=3, views=2, size=request.param)
    return torch.from_numpy(np.stack([pixels for pixels, _, _ in rendered])).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def uniform() -> Tensor:
    return torch.full((4, 3, 32, 32), 100, dtype=torch.uint8)


def test_the_six():
    assert set(CORRUPTIONS) == {"blur", "noise", "jpeg", "brightness", "white_balance", "crop"}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_worse_with_strength_and_the_input_stays(images, name):
    original = images.clone()
    outputs = [corrupt(images, name, strength, seed=0) for strength in STRENGTHS]
    assert all(output.shape == images.shape and output.dtype == torch.uint8 for output in outputs)
    errors = torch.stack([(output.float() - images.float()).square().mean(dim=(1, 2, 3)) for output in outputs])
    assert (errors[0] > 0).all() and (errors.mean(1).diff() > 0).all()
    assert torch.equal(images, original)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides_what_is_random(images, name):
    first, again, other = (corrupt(images, name, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name not in ("noise", "crop"))


@pytest.mark.parametrize(("name", "strength"), [("fog", 1), ("blur", 0), ("blur", 4), ("none", 0)])
def test_unknown(uniform, name, strength):
    with pytest.raises(ValueError, match=f"{name}' of strength {strength} is unknown; .*white_balance.*1, 2, 3"):
        corrupt(uniform, name, strength, 0)


def test_blur_spreads_an_edge_by_its_share_of_the_width(uniform):
    for size in (64, 128):
        edge = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        edge[..., size // 2 :] = 255
        slope = corrupt(edge, "blur", 3, 0)[0, 0, 0].double().diff().numpy()
        place = np.arange(size - 1) - (size / 2 - 1)
        assert np.sqrt(np.average(place**2, weights=slope)) / size == pytest.approx(0.04, rel=0.05)
    assert torch.equal(corrupt(uniform, "blur", 3, 0), uniform)


def test_noise_is_as_strong_as_said_at_128_pixels():
    gray = torch.full((2, 3, 128, 128), 128, dtype=torch.uint8)
    noise = corrupt(gray, "noise", 1, 0).float() - 128
    assert noise.std() == pytest.approx(12, rel=0.02) and abs(noise.mean()) < 0.2
    colours = noise.permute(1, 0, 2, 3).flatten(1)
    assert torch.corrcoef(colours).triu(1).abs().max() < 0.03


def test_noise_is_averaged_as_a_smaller_copy_would_show_it():
    large, small = (torch.full((2, 3, size, size), 128, dtype=torch.uint8) for size in (128, 32))
    averaged = torch.nn.functional.avg_pool2d(corrupt(large, "noise", 3, 0).float(), 4)
    assert corrupt(small, "noise", 3, 0).float().std() == pytest.approx(averaged.std().item(), rel=0.1)


def test_jpeg_costs_detail_and_no_brightness(images, uniform):
    assert (corrupt(uniform, "jpeg", 3, 0).float() - 100).abs().max() <= 12  # a step of the coarsest table
    output = corrupt(images, "jpeg", 2, 0).float()
    assert (output.mean(dim=(2, 3)) - images.float().mean(dim=(2, 3))).abs().max() < 6


def test_brightness_and_white_balance_scale_colours(uniform):
    assert corrupt(uniform, "brightness", 2, 0).unique().tolist() == [53]
    red, green, blue = corrupt(uniform, "white_balance", 3, 0).unbind(1)
    assert [colour.unique().item() for colour in (red, green, blue)] == [130, 100, 70]
    assert corrupt(uniform * 0 + 250, "white_balance", 3, 0)[:, 0].unique().item() == 255  # clipped, not wrapped


def test_crop_shows_a_part_of_the_image_at_differing_places():
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(20, 3, 64, 64).contiguous()
    rows = corrupt(ramp, "crop", 3, 0)[:, 0, 32].float()
    assert (rows[:, -1] - rows[:, 0]).numpy() == pytest.approx(0.55 * 252, abs=4)
    assert rows[:, 0].min() >= 0 and rows[:, -1].max() <= 252 and rows[:, 0].std() > 10
    columns = corrupt(ramp.transpose(2, 3), "crop", 3, 0)[:, 0, :, 32].float()
    assert columns[:, 0].std() > 10 and not torch.equal(columns, rows)
