"""The FastGAN-like generator: its size, what an excitation does, and batches by themselves."""

import pytest
import torch

from models.generator import parameter_count
from models.inference import for_inference
from models.systems.fast import FastGenerator

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 1, 0])


def new_generator(image_size: int = 32) -> FastGenerator:
    torch.manual_seed(0)
    return FastGenerator(image_size, latent_dim=8, width=16)


@pytest.mark.parametrize(("image_size", "millions"), [(32, 0.72), (64, 0.745), (128, 0.756), (256, 0.758)])
def test_sizes_are_those_of_the_docstring(image_size, millions):
    with torch.device("meta"):
        generator = FastGenerator(image_size, latent_dim=64, width=64)
        images = generator(torch.randn(4, 64), LABELS)
    assert images.shape == (4, 3, image_size, image_size)
    assert parameter_count(generator) == pytest.approx(1e6 * millions, abs=500)


def test_a_width_that_cannot_be_divided_names_the_way_out():
    with pytest.raises(ValueError, match="decoder_width=24 must be a multiple of 16 at image_size=256"):
        FastGenerator(256, latent_dim=8, width=24)


def test_class_and_latent_vector_decide_the_image_and_all_weights_learn():
    generator, z = new_generator(64), torch.randn(4, 8)
    images = generator(z, LABELS)
    images.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())
    generator.eval()
    assert torch.equal(generator(z, LABELS), generator(z, LABELS)) and images.abs().max() <= 1
    assert not torch.equal(generator(z, LABELS), generator(z, 1 - LABELS))


def test_an_excitation_scales_the_channels_of_the_larger_map():
    """With a factor of one half for each channel, the last convolution's output is half as large."""
    generator, z = new_generator().eval(), torch.randn(4, 8)
    generator.image.bias.data.zero_()
    gate = generator.excitations["32"][2]
    gate.weight.data.zero_()
    gate.bias.data.fill_(100.0)  # its sigmoid is 1
    whole = generator(z, LABELS).atanh()
    gate.bias.data.zero_()
    torch.testing.assert_close(generator(z, LABELS).atanh(), whole / 2)


def test_batch_norm_sees_each_batch_by_itself():
    generator, z = new_generator(), torch.randn(4, 8)
    together = generator.forward_batches(z, LABELS, 2)
    apart = [generator(*batch) for batch in zip(z.chunk(2), LABELS.chunk(2), strict=True)]
    assert all(map(torch.equal, together, apart))
    assert not torch.allclose(torch.cat(together), generator(z, LABELS))


def test_a_folded_generator_makes_the_same_images():
    generator, z = new_generator(64), torch.randn(4, 8)
    for _ in range(3):
        generator(torch.randn(4, 8), LABELS)  # moves the running statistics
    expected = generator.eval()(z, LABELS)
    sampler = for_inference(generator)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in sampler.modules())
    torch.testing.assert_close(sampler(z, LABELS), expected, rtol=0, atol=1e-5)
    assert for_inference(generator, torch.bfloat16)(z, LABELS).dtype == torch.float32
