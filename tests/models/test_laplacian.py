"""LAPGAN's pyramid, and that each level learns by itself, from real images' coarser ones."""

import pytest
import torch
from torch.nn.functional import softplus

from models.generator import parameter_count
from models.inference import for_inference
from models.objectives import critic_loss, generator_loss
from models.systems.laplacian import LaplacianCritic, LaplacianGenerator, ResidualGenerator, doubled, halved, pyramid

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 1, 0])


def awake(network):
    """The network, in float64, with no layer that is zero."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.double()


@pytest.fixture
def generator() -> LaplacianGenerator:
    torch.manual_seed(0)
    return awake(LaplacianGenerator(32, latent_dim=8, coarse_width=16, width=4))


@pytest.fixture
def critic() -> LaplacianCritic:
    torch.manual_seed(1)
    return awake(LaplacianCritic(32, width=4))


@pytest.fixture
def real() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)).double() * 2 - 1


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(4, 8 + 16**2 + 32**2, generator=torch.Generator().manual_seed(3)).double()


def of_levels(network) -> list[list[torch.nn.Parameter]]:
    """The parameters of each level's network, coarse to fine."""
    return [list(level.parameters()) for level in (network.coarsest, *network.levels)]


def test_a_pyramid_adds_up_to_its_image_and_each_image_to_its_pyramid(real):
    residuals, coarser = pyramid(real, 2)
    assert [r.shape[-1] for r in residuals] == [16, 32] and [c.shape[-1] for c in coarser] == [8, 16]
    torch.testing.assert_close(coarser[0][0, 0, 0, 0], real[0, 0, :4, :4].mean())
    image = coarser[0]
    for residual in residuals:
        image = doubled(image) + residual
    torch.testing.assert_close(image, real, rtol=0, atol=1e-14)
    # Residuals of different images, on another image's coarsest: the sum gives each of them back.
    mixed = doubled(doubled(coarser[0].flip(0)) + residuals[0].roll(1, 0)) + residuals[1]
    found, start = pyramid(mixed, 2)
    expected = coarser[0].flip(0), residuals[0].roll(1, 0), residuals[1]
    for ours, theirs in zip([start[0], *found], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_a_level_makes_residuals_and_nothing_coarser():
    torch.manual_seed(4)
    level, coarser = awake(ResidualGenerator(4, 2)), torch.randn(4, 3, 8, 8).double()
    residual = level(coarser, torch.randn(4, 1, 16, 16).double(), LABELS)
    assert residual.shape == (4, 3, 16, 16) and residual.std() > 0.01
    torch.testing.assert_close(halved(residual), torch.zeros(4, 3, 8, 8).double(), rtol=0, atol=1e-14)


def test_levels_are_chained_for_sampling(generator, z):
    image = generator.coarsest(z[:, :8], LABELS)
    noises = z[:, 8 : 8 + 256].view(4, 1, 16, 16), z[:, 8 + 256 :].view(4, 1, 32, 32)
    for level, noise in zip(generator.levels, noises, strict=True):
        image = doubled(image) + level(image, noise, LABELS)
    torch.testing.assert_close(generator(z, LABELS), image.clamp(-1, 1))


def test_in_training_each_level_is_given_the_real_images_coarser_ones(generator, z, real):
    residuals, coarsest = pyramid(generator(z, LABELS, real), 2)
    noises = z[:, 8 : 8 + 256].view(4, 1, 16, 16), z[:, 8 + 256 :].view(4, 1, 32, 32)
    torch.testing.assert_close(coarsest[0], generator.coarsest(z[:, :8], LABELS))
    for level, residual, noise, coarser in zip(generator.levels, residuals, noises, pyramid(real, 2)[1], strict=True):
        torch.testing.assert_close(residual, level(coarser, noise, LABELS))


def test_a_critic_scores_each_level_of_real_and_synthetic_images(generator, critic, z, real):
    """Level by level from the pyramids, a residual with the real image's enlarged coarser one."""
    made = generator(z, LABELS, real)
    (fake_residuals, fake_coarser), (_, coarser) = pyramid(made, 2), pyramid(real, 2)
    expected = [critic.coarsest(fake_coarser[0], LABELS)]
    for level, residual, coarse in zip(critic.levels, fake_residuals, coarser, strict=True):
        expected.append(level(residual + doubled(coarse), LABELS))
    torch.testing.assert_close(critic(torch.cat([made, real], 1), LABELS), torch.stack(expected, 1))
    of_real = [critic.coarsest(coarser[0], LABELS)]
    of_real += [level(image, LABELS) for level, image in zip(critic.levels, (coarser[1], real), strict=True)]
    torch.testing.assert_close(critic(real, LABELS), torch.stack(of_real, 1))


def test_the_objective_is_the_mean_over_levels(generator, critic, z, real):
    fake = torch.cat([generator(z, LABELS, real), real], 1)
    loss, gap, penalty = critic_loss(critic, real, fake, LABELS, 0.0, None, objective="non_saturating")
    of_real, of_fake = critic(real, LABELS), critic(fake, LABELS)
    levels = [softplus(-of_real[:, k]).mean() + softplus(of_fake[:, k]).mean() for k in range(3)]
    torch.testing.assert_close(loss, sum(levels) / 3)
    torch.testing.assert_close(gap, (of_real - of_fake).mean().detach())
    assert penalty == 0
    made = generator_loss(critic, fake, LABELS, real, "non_saturating")
    torch.testing.assert_close(made, sum(softplus(-of_fake[:, k]).mean() for k in range(3)) / 3)


@pytest.mark.parametrize("level", range(3))
def test_a_levels_score_has_a_gradient_in_its_own_networks_only(generator, critic, z, real, level):
    fake = torch.cat([generator(z, LABELS, real), real], 1)
    score = softplus(-critic(fake, LABELS)[:, level]).mean()
    for network in (generator, critic):
        for number, parameters in enumerate(of_levels(network)):
            gradients = torch.autograd.grad(score, parameters, retain_graph=True, materialize_grads=True)
            largest = max(gradient.abs().max().item() for gradient in gradients)
            assert (largest > 1e-6) if number == level else (largest < 1e-15)


@pytest.mark.parametrize("image_size", [32, 64, 128])
def test_images_of_every_size(image_size):
    generator = LaplacianGenerator(image_size, latent_dim=8, coarse_width=16, width=4)
    torch.nn.init.normal_(generator.levels[-1].leave.weight)  # beyond what can be shown
    z = torch.randn(4, 8 + sum(side**2 for side in generator.sides))
    real = torch.rand(4, 3, image_size, image_size)
    images = generator(z, LABELS)
    assert images.shape == (4, 3, image_size, image_size) and images.abs().max() <= 1
    assert generator(z, LABELS, real).shape == images.shape
    critic = LaplacianCritic(image_size, width=4)
    assert critic(real, LABELS).shape == (4, 1 + len(generator.levels)) == critic(real.repeat(1, 2, 1, 1), LABELS).shape
    with torch.autocast("cpu", torch.bfloat16):
        rounded = generator(z, LABELS, real)
        assert rounded.dtype == torch.float32 == critic(rounded, LABELS).dtype
        # Residuals are centred in float32, so that levels stay apart.
        assert halved(rounded - doubled(halved(rounded))).abs().max() < 1e-5


def test_parameters_are_those_of_the_docstrings():
    with torch.device("meta"):
        generator = LaplacianGenerator(64, latent_dim=64, coarse_width=256, width=48)
        assert parameter_count(generator) == 282_084 and parameter_count(LaplacianCritic(64, width=48)) == 2_151_316


def test_images_depend_on_noise_and_label_and_sampling_makes_the_same(generator, z):
    images = generator(z, LABELS)
    images.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())
    for other in (generator(z.roll(1, 0), LABELS), generator(z, 1 - LABELS)):
        assert (other - images).abs().max() > 0.01
    expected = generator.float()(z.float(), LABELS)
    sampler = for_inference(generator, torch.bfloat16)  # its pixels are sums, which stay in float32
    torch.testing.assert_close(sampler(z.float(), LABELS), expected, rtol=0, atol=1e-5)
