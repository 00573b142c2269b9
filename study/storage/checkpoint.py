"""Checkpoints that are either whole or not there.

A file is written under a temporary name, flushed to disk and renamed; its name ends in the SHA-256 of its content,
so that a flipped bit is found before anything is loaded. The last two are kept: the previous good one is used when
the newest is damaged. Tensors are read with `weights_only=True`.
"""

import hashlib
import io
import os
import warnings
from pathlib import Path

import torch

KEEP = 2


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader or a crash sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
    """The newest undamaged checkpoint of `folder`, or None; a damaged one is named in a warning and set aside."""
    for path in _newest_first(folder):
        if _digest(path.read_bytes()) == path.stem.rpartition("-")[2]:
            return path
        path.rename(path.with_suffix(".damaged"))
        warnings.warn(f"checkpoint {path} is damaged (its checksum differs) and was set aside", stacklevel=2)
    return None


def delete_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished training."""
    for path in _newest_first(folder):
        path.unlink()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
