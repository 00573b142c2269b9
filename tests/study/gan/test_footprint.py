"""Memory counted from shapes equals that of real tensors, and stays below the paper's."""

import pytest
import torch

from study.config import make_config, preset
from study.gan.footprint import bytes_and_largest_batch, gan_bytes, weights_bytes
from study.gan.step import build_training
from study.training.memory import kept_bytes

GIB = 2**30
PAPERS_PEAK = {"plain": 8.2e9, "efficientnetv2_m": 16.8e9}  # bytes; both with a two-layer LSTM


def test_kept_bytes_are_those_of_real_tensors():
    x = torch.randn(10, 100, requires_grad=True)
    kept = kept_bytes(lambda: (x.exp() * torch.ones(10, 100)).tanh().sum())
    assert kept == 3 * x.nbytes  # exp and tanh keep what they put out, the product the ones


def test_a_parameter_is_not_kept_and_a_view_is_not_kept_twice():
    layer, x = torch.nn.Linear(100, 100, bias=False), torch.randn(10, 100)
    assert kept_bytes(lambda: (layer(x), layer(x[:5]))) == x.nbytes


def test_weights_count_gradients_and_adams_averages(tiny_settings):
    training = build_training(make_config(tiny_settings), torch.device("cpu"))
    parameters = [sum(p.numel() for p in net.parameters()) for net in (training.generator, training.critic)]
    buffers = sum(b.nbytes for b in training.ema.buffers())
    assert weights_bytes(training) == 4 * (5 * parameters[0] + 4 * parameters[1]) + buffers


@pytest.mark.parametrize(("backbone", "peak"), PAPERS_PEAK.items())
def test_the_paper_preset_takes_at_most_half_of_the_papers_memory(backbone, peak):
    assert gan_bytes(make_config(preset("paper") | {"backbone": backbone})) <= peak / 2


def test_the_largest_batch_fits_and_the_next_does_not():
    config = make_config(preset("paper"))
    taken, largest = bytes_and_largest_batch(config, 24 * GIB)
    fits = [gan_bytes(config.model_copy(update={"gan_batch_size": n})) <= 24 * GIB for n in (largest, largest + 8)]
    assert taken == gan_bytes(config) and largest > config.gan_batch_size and fits == [True, False]
    assert bytes_and_largest_batch(config, 1000)[1] == 0
