"""Checkpoints of a training.

A checkpoint's file name ends in the SHA-256 of its content, so that a flipped bit is found before anything is loaded.
Two are kept: where the newest is damaged, the training goes on from the one before.
"""

import hashlib
import io
from pathlib import Path

import torch

from study.storage.atomic import write_atomically
from study.storage.sealed import warn_and_set_aside

KEEP = 2


def save_checkpoint(folder: Path, epoch: int, state: dict) -> None:
    """Store `state` (tensors, numbers, strings and containers of them) as the newest checkpoint of `folder`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(folder / f"checkpoint-{epoch:06d}-{_digest(content)}.pt", content)
    for old in _newest_first(folder)[KEEP:]:
        old.unlink()


def read_checkpoint(path: Path, device: torch.device | str) -> dict:
    """What `save_checkpoint` stored in the file that `newest_checkpoint` names."""
    return torch.load(path, map_location=device, weights_only=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest undamaged checkpoint of `folder`, or None. Damaged ones are set aside with a warning."""
    for path in _newest_first(folder):
        if _digest(path.read_bytes()) == path.stem.rpartition("-")[2]:
            return path
        warn_and_set_aside(path, "the training goes on from the checkpoint before it, or starts again")
    return None


def delete_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished training."""
    for path in _newest_first(folder):
        path.unlink()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
