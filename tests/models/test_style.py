"""StyleGAN2's generator: modulation against convolutions with weights of their own, variances, equalised steps."""

import pytest
import torch
from torch.nn.functional import conv2d

from models.generator import parameter_count
from models.systems.style import EqualisedLinear, ModulatedConvolution, StyleGenerator

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize(("size", "demodulate"), [(3, True), (1, False)])
def test_each_image_gets_the_convolution_of_its_own_weights(size, demodulate):
    """Karras et al. 2020, eq. 1 to 3, image by image; the bias comes last."""
    torch.manual_seed(0)
    layer = ModulatedConvolution(5, 4, 6, size, demodulate).double()
    torch.nn.init.normal_(layer.bias)
    features, style = torch.randn(3, 4, 7, 7).double(), torch.randn(3, 5).double()
    found = layer(features, style)
    for image, scales, output in zip(features, layer.scales(style), found, strict=True):
        weight = layer.weight * (4 * size**2) ** -0.5 * scales[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = conv2d(image[None], weight, layer.bias, padding=size // 2)[0]
        torch.testing.assert_close(output, expected)


def test_demodulated_outputs_keep_unit_variance_whatever_the_style():
    torch.manual_seed(1)
    layer = ModulatedConvolution(5, 16, 8, 3)
    features, style = torch.randn(1, 16, 200, 200), 10 * torch.randn(4, 5)
    with torch.no_grad():
        inside = layer(features, style)[:, :, 1:-1, 1:-1]  # the border sees zeros
    torch.testing.assert_close(inside.var(dim=(2, 3)), torch.ones(4, 8), rtol=0, atol=0.06)


def test_an_equalised_layer_starts_at_unit_variance_and_learns_at_its_rate():
    torch.manual_seed(2)
    features, moved = torch.randn(1000, 64).double(), []
    for rate in (1.0, 0.01):
        layer = EqualisedLinear(64, 32, rate, bias=0.5).double()
        before = layer(features).detach()
        assert before.mean().item() == pytest.approx(0.5, abs=0.05)
        assert before.std().item() == pytest.approx(1, rel=0.1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += 1e-3  # a step of Adam
        moved.append((layer(features) - before).detach())
    torch.testing.assert_close(moved[1], 0.01 * moved[0])


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
def test_images_of_every_size(image_size):
    generator = StyleGenerator(image_size, latent_dim=8, width=16).to(memory_format=torch.channels_last)
    z = torch.randn(4, 8)
    images = generator(z, LABELS)
    assert images.shape == (4, 3, image_size, image_size)
    first, second = generator.forward_batches(z, LABELS, 2)
    torch.testing.assert_close(torch.cat([first, second]), images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = generator(z, LABELS)
    assert rounded.dtype == torch.float32 and (rounded - images).abs().mean() < 0.05 * images.std()


def test_parameters_are_those_of_the_docstring():
    assert parameter_count(StyleGenerator(64, latent_dim=64, width=128)) == 674_559


def test_all_weights_learn_and_images_depend_on_noise_and_label():
    torch.manual_seed(3)
    generator = StyleGenerator(32, latent_dim=8, width=16).double()
    z = torch.randn(4, 8).double()
    images = generator(z, LABELS)
    images.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())
    alone = generator(z[:1], LABELS[:1])
    torch.testing.assert_close(alone, images[:1])  # no image depends on its batch
    torch.testing.assert_close(generator(3 * z[:1], LABELS[:1]), alone)  # z counts by its direction alone
    for other in (generator(z[1:2], LABELS[:1]), generator(z[:1], 1 - LABELS[:1])):
        assert (other - alone).abs().max() > 0.1


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(4)
    layer = ModulatedConvolution(3, 2, 2, 3).double()
    inputs = torch.randn(2, 2, 4, 4).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, inputs)
