"""JSON and tensor files that carry the SHA-256 of their content, so that damage is found before anything is used.

A damaged file is named in a warning and renamed to `*.damaged`; no command reads it again.
"""

import hashlib
import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from study.errors import Damaged
from study.storage.atomic import write_atomically


def set_aside(path: Path, what_now: str) -> str:
    """Rename a damaged file to `*.damaged`; returns the message for the user, which ends in `what_now`."""
    path.replace(path.with_name(f"{path.name}.damaged"))
    return f"{path} is damaged and was set aside as {path.name}.damaged; {what_now}"


def warn_and_set_aside(path: Path, what_now: str) -> None:
    warnings.warn(set_aside(path, what_now), stacklevel=3)


def write_json(path: Path, content: dict) -> None:
    """Write `content` (JSON values) with its checksum."""
    assert "sha256" not in content
    write_atomically(path, json.dumps(content | {"sha256": _of_json(content)}, indent=1).encode())


def read_json(path: Path) -> dict:
    """What `write_json` wrote. Raises FileNotFoundError and Damaged."""
    try:
        content = json.loads(path.read_bytes())
        if content.pop("sha256") == _of_json(content):
            return content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise Damaged(path)


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


def _of_json(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _of_tensors(tensors: dict[str, torch.Tensor], content: str) -> str:
    """Of names, types, shapes and values: damage to a name is damage too."""
    sha256 = hashlib.sha256(content.encode())
    for name, tensor in sorted(tensors.items()):
        sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha256.update(tensor.cpu().contiguous().numpy())
    return sha256.hexdigest()
