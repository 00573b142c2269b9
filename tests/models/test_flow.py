"""Flow matching against closed forms: the loss, the best velocity of a Gaussian, the order of the integration."""

import copy
import math

import pytest
import torch
from torch import nn

from models.generator import parameter_count
from models.inference import for_inference
from models.systems import flow
from models.systems.flow import FlowGenerator, VelocityField, flow_matching_loss, logit_normal, sinusoids

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 1])


def awake(network: nn.Module) -> nn.Module:
    """The network with weights where it starts at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)
    return network


@pytest.fixture
def generator() -> FlowGenerator:
    torch.manual_seed(0)
    return awake(FlowGenerator(32, width=4))


class OfAGaussian(nn.Module):
    """The best velocity for images of independent pixels N(mean, deviation^2), one mean and deviation a class.

    x_1 - x_0 and x_t are jointly normal: its mean given x_t is linear in x_t.
    """

    means, deviations = torch.tensor([0.5, -0.3]).double(), torch.tensor([0.2, 0.7]).double()

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(1, 1, 1).double()  # tells the generator its dtype

    def forward(self, x, t, labels):
        mean, variance = self.means[labels][:, None, None, None], self.deviations[labels].square()[:, None, None, None]
        t = t[:, None, None, None]
        slope = (t * variance - (1 - t)) / (t**2 * variance + (1 - t) ** 2)
        return mean + slope * (x - t * mean)


def flowed(z, labels):
    """Where noise z ends under `OfAGaussian`: the flow of a Gaussian to a Gaussian is affine."""
    return OfAGaussian.means[labels][:, None] + OfAGaussian.deviations[labels][:, None] * z


def test_the_loss_by_hand():
    real, noise = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -1.0)
    t, seen = torch.tensor([0.25, 1.0]).view(2, 1, 1, 1), []

    def velocity(x, t, labels):
        seen.extend([x[:, 0, 0, 0].tolist(), t.tolist(), labels.tolist()])
        return torch.zeros_like(x)

    assert flow_matching_loss(velocity, real, noise, t, LABELS[:2]).item() == pytest.approx(1.5**2)
    assert seen == [[-0.625, 0.5], [0.25, 1.0], [0, 1]]


def test_the_gaussians_velocity_has_the_least_loss():
    torch.manual_seed(0)
    labels, noise = torch.arange(4000) % 2, torch.randn(4000, 3, 4, 4).double()
    real = flowed(torch.randn(4000, 48).double(), labels).view_as(noise)
    t, best = logit_normal(torch.rand(4000, 1, 1, 1).double()), OfAGaussian()
    loss = flow_matching_loss(best, real, noise, t, labels)
    expected = (OfAGaussian.deviations[labels] ** 2 / (t.flatten() ** 2 * OfAGaussian.deviations[labels] ** 2
                                                       + (1 - t.flatten()) ** 2)).mean()  # fmt: skip
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)  # the variance of x_1 - x_0 given x_t
    for worse in (lambda x, t, y: 1.1 * best(x, t, y), lambda x, t, y: best(x, t, 1 - y)):
        assert flow_matching_loss(worse, real, noise, t, labels) > loss


def test_times_are_logit_normal():
    assert logit_normal(torch.tensor([0.0, 0.5])).tolist() == [0.0, 0.5]
    t = logit_normal(torch.linspace(0, 1, 10002)[1:-1].double())
    assert t.logit().mean().abs() < 1e-6 and t.logit().std().item() == pytest.approx(1, abs=0.01)


def test_the_generator_follows_the_velocity(monkeypatch):
    """The error falls at least with the square of the step, the midpoint method's order; Euler's would halve."""
    torch.manual_seed(0)
    generator, z, labels = FlowGenerator(32, width=4).double(), torch.randn(3, 3 * 32 * 32).double(), LABELS
    generator.velocity, errors = OfAGaussian(), []
    for steps in (5, 40, 80):
        monkeypatch.setattr(flow, "STEPS", steps)
        with torch.no_grad():
            made = generator(z, labels).flatten(1)
        errors.append((made - flowed(z, labels)).abs().mean().item())
    assert errors[0] < 0.01 and errors[1] / errors[2] > 3.5


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shapes_at_every_size(size):
    with torch.device("meta"):
        generator = copy.deepcopy(FlowGenerator(size, width=8))
        z, labels = torch.empty(2, 3 * size**2), torch.empty(2, dtype=torch.long)
        assert generator(z, labels).shape == (2, 3, size, size)
        assert [len(images) for images in generator.forward_batches(z, labels, 2)] == [1, 1]
        coarsest = []
        generator.velocity.bottom.register_forward_hook(lambda *call: coarsest.append(call[2].shape[-2:]))
        generator(z, labels)
    assert set(coarsest) == {(8, 8)}


def test_the_parameter_count_is_that_of_the_layers():
    def block(inputs, outputs, condition=128):
        norms, modulation = 2 * (inputs + outputs), 2 * outputs * (condition + 1)
        shortcut = 0 if inputs == outputs else outputs * (inputs + 1)
        return norms + modulation + shortcut + outputs * (9 * inputs + 1) + outputs * (9 * outputs + 1)

    ends = 32 * (9 * 12 + 1) + 2 * 32 + 12 * (9 * 32 + 1)
    condition = 128 * (32 + 1) + 128 * (128 + 1) + 2 * 128
    down = block(32, 32) + block(32, 64) + block(64, 128) + block(128, 128)
    up = block(64, 64) + block(32, 32) + 64 * (128 + 1) + 32 * (64 + 1)
    assert parameter_count(VelocityField(64, width=32)) == ends + condition + down + up == 848_844


def test_the_velocity_is_zero_at_the_start_and_then_all_its_weights_learn():
    torch.manual_seed(0)
    field, x, t = VelocityField(64, width=6), torch.randn(3, 3, 64, 64), torch.tensor([0.1, 0.5, 0.9])
    assert not field(x, t, LABELS).any()
    flow_matching_loss(awake(field), x, torch.randn_like(x), t.view(3, 1, 1, 1), LABELS).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in field.parameters())


def test_time_class_and_noise_matter(generator):
    x, t = torch.randn(1, 3, 32, 32).expand(3, -1, -1, -1), torch.tensor([0.2, 0.2, 0.7])
    first, other_class, other_time = generator.velocity(x, t, LABELS)
    assert not torch.allclose(first, other_class) and not torch.allclose(other_class, other_time)
    torch.testing.assert_close(generator.velocity(x[:1], t[:1], LABELS[:1])[0], first, rtol=1e-4, atol=1e-5)
    a, b = generator(torch.randn(2, 3 * 32 * 32), LABELS[1:])
    assert not torch.allclose(a, b)


def test_sinusoids_are_those_of_the_frequencies():
    waves = sinusoids(torch.tensor([0.0, 0.3], dtype=torch.float64))
    assert waves[0].tolist() == [0.0] * 16 + [1.0] * 16
    assert waves[1, [0, 15, 16, 31]].tolist() == pytest.approx([math.sin(0.3), math.sin(30), math.cos(0.3),
                                                                math.cos(30)])  # fmt: skip


def test_bfloat16_weights_keep_pixels_in_float32(generator):
    z = torch.randn(3, 3 * 32 * 32)
    exact = generator(z, LABELS)
    torch.testing.assert_close(for_inference(generator)(z, LABELS), exact, rtol=0, atol=1e-4)  # other memory format
    rounded = for_inference(generator, torch.bfloat16)(z, LABELS)
    assert rounded.dtype == torch.float32 and (rounded - exact).abs().mean() < 0.01
    assert not torch.equal(rounded, rounded.bfloat16().float())
