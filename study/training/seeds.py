"""Random numbers derived from (seed, purpose, epoch), so that a checkpoint need not carry generator states."""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one use: equal arguments give equal seeds, other arguments unrelated ones."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_generator(device: torch.device | str, seed: int, *purpose: str | int) -> torch.Generator:
    """A `torch.Generator` on `device`, seeded for one use."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))
