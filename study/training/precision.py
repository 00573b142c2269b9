"""The precision that a training computes in."""

from contextlib import nullcontext

import torch

from study.config import GanConfig


def autocast(config: GanConfig, device: torch.device):
    """The config's precision as a context."""
    bfloat16 = config.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU may round the factors of float32 products to 10 bits; torch's default allows it in convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
