"""Tensor files that carry the SHA-256 of their content, as the JSON files of `sealed.py` do."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from study.errors import Damaged
from study.storage.atomic import write_atomically


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], content: str) -> None:
    """Write tensors, the text `content` that says what they are, and a checksum of both as a safetensors file."""
    write_atomically(path, save(tensors, {"content": content, "sha256": _of_tensors(tensors, content)}))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors, on the CPU, and the text that `write_tensors` stored. Raises FileNotFoundError and Damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in sorted(file.keys())}
    except SafetensorError:
        raise Damaged(path) from None
    content = metadata.get("content", "")
    if metadata.get("sha256") != _of_tensors(tensors, content):
        raise Damaged(path)
    return tensors, content


def _of_tensors(tensors: dict[str, torch.Tensor], content: str) -> str:
    """Of names, types, shapes and values: damage to a name is damage too."""
    sha256 = hashlib.sha256(content.encode())
    for name, tensor in sorted(tensors.items()):
        sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha256.update(tensor.cpu().contiguous().numpy())
    return sha256.hexdigest()
