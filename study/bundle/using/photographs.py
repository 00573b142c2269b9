"""The photographs that a user names, read as the network takes them."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from data_utils.decode import HEIC, SUFFIXES, UNREAD, BadImage, decode, square
from results.text import printable
from study.errors import ConfigError

MARKER = "explanations.txt"  # in a folder of overlays


def photographs(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Each file to read with the folder that it must not lead out of; folders are searched, hidden files left out.

    Raises ConfigError for a path that does not exist, and where there is no photograph at all; OSError for a folder
    that cannot be read.
    """
    found = [pair for path in paths for pair in _below(path)]
    if not found:
        raise ConfigError(
            f"no photographs in {', '.join(map(str, paths))}; files end in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _below(path: Path) -> Iterator[tuple[Path, Path]]:
    if not path.exists():
        raise ConfigError(f"{path} does not exist")
    if not path.is_dir():
        yield path, path.resolve().parent  # the user named the file itself, wherever it lies
        return
    for parent, folders, names in os.walk(path, onerror=_stop):
        if MARKER in names:  # overlays of an earlier answer
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for linked in filter(Path.is_symlink, (Path(parent, name) for name in folders)):
            print(printable(f"not searched: the linked folder {linked}; name it itself"), file=sys.stderr)
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES | UNREAD and not name.startswith("."):
                yield Path(parent, name), path  # of a format that is not read the answers say so


def _stop(error: OSError) -> None:
    """For `os.walk`, which passes over folders that it cannot read."""
    raise error


def read_photograph(path: Path, root: Path, preprocessing: dict) -> np.ndarray:
    """uint8 (3, S, S): upright, the largest centred square, made smaller as the training images were.

    `preprocessing` is that of the bundle: "decoded_side", which a large photograph's shorter side keeps when it is
    decoded; "sizes", the side of the study's prepared images and, where it is smaller, of the network's input.
    Raises `data_utils.decode.BadImage`.
    """
    return network_input(decode(path, root, preprocessing["decoded_side"]), preprocessing)


def network_input(image: Image.Image, preprocessing: dict) -> np.ndarray:
    """uint8 (3, S, S) of an upright RGB image; see `read_photograph`."""
    for size in preprocessing["sizes"]:
        image = square(image, size)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def read_all(
    files: list[tuple[Path, Path]], preprocessing: dict, batch: int
) -> Iterator[list[tuple[Path, np.ndarray | None, str | None]]]:
    """Path, pixels and, where a file cannot be read, the reason instead; in batches, so that memory stays constant."""

    def read(file: tuple[Path, Path]):
        if file[0].suffix.lower() in UNREAD - HEIC:  # Pillow would take the preview in some of them
            return file[0], None, "a format that is not read; convert it to JPEG or PNG"
        try:
            return file[0], read_photograph(*file, preprocessing), None
        except BadImage as reason:
            return file[0], None, str(reason)

    waiting = iter(files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a large photograph takes hundreds of megabytes while it is read
        while some := list(islice(waiting, batch)):
            yield list(pool.map(read, some))
