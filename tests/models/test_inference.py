"""Folding batch norm changes nothing in what a generator and a feature extractor compute."""

import copy

import pytest
import torch
from torch import nn

from models.feature_extractor import efficientnet_lite
from models.generator import GENERATORS, build_generator
from models.inference import fold_batch_norm, for_inference

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "image_size": 32, "latent_dim": 16, "lstm_width": 16, "decoder_width": 16, "backbone_width": 0.25,
    "backbone_depth": 0.25,
}  # fmt: skip
LABELS = torch.tensor([0, 1, 1, 0])


def trained(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its batch norms far from the identity and its images from grey."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.1)
    return network.eval().requires_grad_(False)


def new_generator(backbone: str, lstm_depth: int) -> nn.Module:
    torch.manual_seed(lstm_depth)
    return trained(build_generator(backbone, lstm_depth=lstm_depth, **SMALL))


@pytest.mark.parametrize("lstm_depth", range(5))
@pytest.mark.parametrize("backbone", GENERATORS)
def test_a_folded_generator_makes_the_same_images(backbone, lstm_depth):
    generator = new_generator(backbone, lstm_depth)
    z = torch.randn(4, 16)
    before = generator(z, LABELS)
    sampler = for_inference(generator)
    torch.testing.assert_close(sampler(z, LABELS), before, rtol=0, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in sampler.modules())
    assert torch.equal(generator(z, LABELS), before), "the generator itself is left as it was"
    assert before.std() > 0.05


def test_bfloat16_weights_round_no_worse_than_autocast():
    generator = new_generator("plain", 2)
    z = torch.randn(4, 16)
    exact = generator(z, LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast_error = (generator(z, LABELS).float() - exact).abs().mean()
    images = for_inference(generator, torch.bfloat16)(z, LABELS)
    assert images.dtype == torch.float32
    assert 0 < (images - exact).abs().mean() < 2 * autocast_error


def test_folding_batch_norm_keeps_the_extractors_features():
    network = efficientnet_lite(0).eval().requires_grad_(False)
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for got, expected in zip(folded(images), network(images), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
