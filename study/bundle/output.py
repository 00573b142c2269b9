"""Where a command writes: nothing is overwritten unless the user says so, and then only what such a command wrote."""

import os
import shutil
from pathlib import Path

from study.errors import ConfigError


def fresh_folder(out: Path, marker: str, mark: str, force: bool, flag: str = "--out") -> Path:
    """An empty folder at `out`; see `writable_folder`. With `force` its content is deleted."""
    out = writable_folder(out, marker, mark, force, flag)
    if any(out.iterdir()):
        shutil.rmtree(out)
        out.mkdir()
    return out


def writable_folder(out: Path, marker: str, mark: str, force: bool, flag: str = "--out") -> Path:
    """The folder `out`, absolute, made where it is missing; ConfigError, which names the `flag`, where it has content.

    With `force` it may have content, but only where a file `marker` with the text `mark` shows that an earlier run
    wrote it.
    """
    out = out.expanduser().resolve()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{flag} {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not force:
            raise ConfigError(f"{flag} {out} is not empty; choose another folder, or add --force to replace it")
        wrote_it = (out / marker).is_file() and mark in (out / marker).read_text(encoding="utf-8", errors="replace")
        if not wrote_it:
            raise ConfigError(f"--force: {out} has no {marker} of ours: something else wrote it; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {out} cannot be made ({error.strerror}); choose another folder") from None
    return out


def fresh_file(path: Path, force: bool) -> Path:
    """The path of a file that may be written, absolute; ConfigError where one is there and `force` is not given."""
    path = path.expanduser().absolute()
    if path.is_dir() or (path.exists() and not force):
        raise ConfigError(f"--out {path} exists; choose another name" + ("" if path.is_dir() else ", or add --force"))
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--out {path}: the folder {path.parent} is missing or cannot be written")
    return path
