"""JSON files that carry the SHA-256 of their content, so that damage is found before anything is used.

A damaged file is named in a warning and renamed to `*.damaged`; no command reads it again.
"""

import hashlib
import json
import warnings
from pathlib import Path

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


def _of_json(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
