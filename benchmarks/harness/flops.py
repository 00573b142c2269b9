"""Floating-point operations of a piece of training, counted, and the machine's peak, measured."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.interleaved import take_turns


class Everywhere(nullcontext):
    """Stands in for the counter's module tracker, which a gradient with respect to the input breaks."""

    parents = frozenset({"Global"})


def count_flops(run: Callable[[], object]) -> int:
    """Operations of the convolutions and matrix products in `run`, an LSTM's left out (see `lstm_flops`)."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Everywhere()
    with counter:
        run()
    return counter.get_total_flops()


def lstm_flops(module: nn.Module, tokens: int, batch: int) -> int:
    """Operations of one forward pass of the LSTMs of `module`; a backward pass has twice as many."""
    weights = [
        weight.numel()
        for lstm in module.modules() if isinstance(lstm, nn.LSTM)
        for name, weight in lstm.named_parameters() if name.startswith("weight")
    ]  # fmt: skip
    return 2 * sum(weights) * tokens * batch


def matmul_peak(dtype: torch.dtype, device: str = "cpu", size: int = 2048, repeats: int = 5) -> float:
    """Operations a second of a square matrix product: the best of `repeats`."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    seconds = take_turns({"product": lambda: a @ b}, repeats, device)["product"]
    return 2 * size**3 / min(seconds)
