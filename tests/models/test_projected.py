"""The critic on frozen features: what is frozen stays frozen, and what is bounded is bounded."""

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from models.feature_extractor import ExtractorUnavailable, efficientnet_lite
from models.generator import parameter_count
from models.systems import projected
from models.systems.projected import Head, ProjectedCritic, spectral_norm

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 1])


@pytest.fixture
def critic() -> ProjectedCritic:
    torch.manual_seed(0)
    return ProjectedCritic(32, width=4, features="efficientnet_lite0")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shape", [(1, 9), (2, 48), (48, 48), (48, 400), (64, 9)])
def test_the_spectral_norm_is_bounded_from_above_and_closely(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 7
    exact, bound = torch.linalg.matrix_norm(matrix, 2), spectral_norm(matrix)
    assert exact * (1 - 1e-5) <= bound <= exact * shape[0] ** (1 / 64) * (1 + 1e-5)
    assert torch.autograd.gradcheck(spectral_norm, torch.randn(3, 5, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_no_power_overflows_or_vanishes(scale):
    matrix = scale * torch.eye(64)  # where the bound is loosest
    assert spectral_norm(matrix) == pytest.approx(scale * 64 ** (1 / 64), rel=1e-4)


def test_a_heads_score_is_its_closed_form():
    """A head of one convolution on a map of one pixel: sees the kernel's centre alone."""
    torch.manual_seed(0)
    head, features = Head(1, 5, 2, 2).double(), torch.randn(3, 5, 1, 1, dtype=torch.float64)
    (layer,) = head.convolutions
    weight = layer.weight / spectral_norm(layer.weight.flatten(1))
    hidden = features[:, :, 0, 0] @ weight[:, :, 1, 1].T + layer.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    directions = head.score.weight + head.class_embedding.weight
    expected = (hidden * (directions / spectral_norm(directions))[LABELS]).sum(dim=1) + head.score.bias
    torch.testing.assert_close(head(features, LABELS), expected)


@pytest.mark.parametrize(
    ("image_size", "maps", "strides"), [(32, 16, 3), (64, 32, 6), (128, 32, 6), (256, 64, 10)]
)
def test_maps_have_a_quarter_to_a_32th_of_the_side_and_heads_end_at_four(image_size, maps, strides):
    with torch.device("meta"):
        critic = ProjectedCritic(image_size, width=4, features="efficientnet_lite0")
        features = critic.features(torch.empty(2, 3, image_size, image_size))
    assert [each.shape[-1] for each in features] == [maps, maps // 2, maps // 4, maps // 8]
    assert [each.shape[1] for each in features] == [4, 4, 8, 16]
    assert sum(layer.stride == (2, 2) for head in critic.heads for layer in head.convolutions) == strides


def test_the_parameters_are_those_of_the_heads(critic):
    with torch.device("meta"):
        full = ProjectedCritic(64, width=48)
    assert parameter_count(full) == pytest.approx(0.404e6, abs=500)
    assert set(dict(full.named_parameters())) == {f"heads.{name}" for name, _ in full.heads.named_parameters()}
    assert not any(key.startswith(("stages", "mean", "std")) for key in critic.state_dict())


def test_what_is_frozen_stays_frozen_in_training_mode_and_with_requires_grad(critic, images):
    frozen = [*critic.stages.buffers(), *critic.channel_mixers.buffers(), *critic.scale_mixers.buffers()]
    before = [tensor.clone() for tensor in frozen]
    critic.requires_grad_(False).requires_grad_(True)
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.1)
    scores = critic.train()(images, LABELS)
    assert torch.equal(scores, critic.eval()(images, LABELS)) and scores.shape == (3, 4)
    scores.sum().backward()
    optimiser.step()
    assert all(map(torch.equal, frozen, before)) and not any(tensor.requires_grad for tensor in frozen)
    assert not torch.equal(critic(images, LABELS), scores)


def test_an_image_gets_a_gradient_and_its_score_does_not_depend_on_the_others(critic, images):
    critic.requires_grad_(False)
    images.requires_grad_()
    scores = critic(images, LABELS)
    torch.testing.assert_close(critic(images[1:2], LABELS[1:2]), scores[1:2], rtol=1e-4, atol=1e-5)
    scores[0].sum().backward()
    assert (images.grad[0].abs().amax() > 0) and not images.grad[1:].any()
    assert not torch.allclose(critic(images, LABELS), critic(images, 1 - LABELS))


def test_the_frozen_network_sees_what_its_own_normalisation_makes(critic, images):
    """Without the mixers: the folded stages give the maps of timm's network on normalised pixels of 64 x 64."""
    network = efficientnet_lite(0).eval()
    pixels = interpolate((images + 1) * 127.5, size=(64, 64), mode="bilinear")
    with torch.no_grad():
        x, maps = network.model.bn1(network.model.conv_stem((pixels - 127) / 128)), []
        for block in network.model.blocks:
            x = block(x)
            maps.append(x)
    critic.channel_mixers = torch.nn.ModuleList([torch.nn.Identity()] * 4)
    critic.scale_mixers = torch.nn.ModuleList()
    for got, number in zip(critic.features(images), (1, 2, 4, 6), strict=True):
        torch.testing.assert_close(got, maps[number], rtol=1e-3, atol=1e-3)


def test_a_new_critic_with_a_stored_state_scores_as_the_old_one(critic, images):
    torch.manual_seed(5)
    other = ProjectedCritic(32, width=4, features="efficientnet_lite0")
    assert not torch.allclose(other(images, LABELS), critic(images, LABELS))
    other.load_state_dict(critic.state_dict())
    assert torch.equal(other(images, LABELS), critic(images, LABELS))
    assert torch.equal(copy.deepcopy(critic)(images, LABELS), critic(images, LABELS))


def test_bfloat16_scores_are_near_and_in_float32(critic, images):
    critic, images = critic.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    exact = critic(images, LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = critic(images, LABELS)
    assert scores.dtype == torch.float32 and (scores - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_a_missing_package_names_the_way_out(monkeypatch):
    monkeypatch.setattr(projected, "has_efficientnet_lite", lambda number: False)
    with pytest.raises(ExtractorUnavailable, match=r"critic_features=efficientnet_lite1: .* pip install"):
        ProjectedCritic(32, width=4)
