"""The square images of a source, decoded, or the list of files that cannot be."""

import hashlib
import io
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_utils import phantoms
from data_utils.decode import BadImage, decode, square
from data_utils.duplicates.pairs import Progress, Signature, signature
from data_utils.errors import DataError
from data_utils.layouts import Record, Source
from data_utils.layouts.wound_patches import cut_patches
from data_utils.prepared import printable

MAX_THREADS = 8  # each holds a decoded photograph in memory
MAX_LISTED = 10
REDUCED = 4  # a large photograph's shorter side is decoded to at least this many times the prepared size
OUTSIDE = "leads out of the data folder"


@dataclass(frozen=True)
class Patch:
    """One prepared image, with the name of its file and the side that it came with ("" for none)."""

    name: str
    png: bytes
    label: int
    group: str
    side: str
    content_hash: str
    signature: Signature


def sample_patches(image_size: int) -> tuple[Source, list[Patch]]:
    """The embedded sample data."""
    rendered = phantoms.render_phantoms(size=image_size)
    patches = [
        _patch(f"phantom {number}", Image.fromarray(pixels), label, Record(Path(), label, group), image_size)
        for number, (pixels, label, group) in enumerate(rendered)
    ]
    return Source("sample data: rendered wound phantoms", Path(), phantoms.CLASS_NAMES, []), patches


def decode_all(
    source: Source, image_size: int, skip_bad: bool, progress: Progress
) -> tuple[list[Patch], int, tuple[str, ...]]:
    """The patches of all photographs, the number of files left out, and notes of them and of decoders' warnings.

    Raises `DataError` with the first files that cannot be used, unless `skip_bad` leaves them out.
    """
    decoded: list[list[Patch] | str] = []
    with _named_warnings() as (warned, current), ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:

        def attempt(record: Record) -> list[Patch] | str:
            current.name = name = _name(record, source)
            return _try_decode(record, source, name, image_size)

        for result in pool.map(attempt, source.records):
            decoded.append(result)
            progress("photographs", len(decoded), len(source.records))
    bad = [(record, result) for record, result in zip(source.records, decoded, strict=True) if isinstance(result, str)]
    if bad and not skip_bad:
        raise DataError(_listing(source, bad))
    patches = [patch for result in decoded if not isinstance(result, str) for patch in result]
    skipped = [f"WARNING: {count} were skipped." for count in _by_class(source, bad)]
    return patches, len(bad), (*skipped, *_warning_notes(warned))


def _name(record: Record, source: Source) -> str:
    return os.path.relpath(record.path, source.root)


def _try_decode(record: Record, source: Source, name: str, image_size: int) -> list[Patch] | str:
    """The patches of one file, or its name and the reason why there are none."""
    try:
        if record.mask is None:
            image = decode(record.path, source.root, shorter_side=REDUCED * image_size)
            return [_patch(name, image, record.label, record, image_size)]
        image, mask = decode(record.path, source.root), decode(record.mask, source.root)
        if mask.size != image.size:
            raise BadImage(f"{image.size} pixels, but its mask has {mask.size}")
        index = source.class_names.index
        return [_patch(name, cut, index(label), record, image_size) for cut, label in cut_patches(image, mask)]
    except BadImage as reason:
        return printable(f"{name}: {reason}")


def _patch(name: str, image: Image.Image, label: int, record: Record, image_size: int) -> Patch:
    image = square(image, image_size)
    png = io.BytesIO()
    image.save(png, "PNG")
    content_hash = hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
    return Patch(name, png.getvalue(), label, record.group, record.side or "", content_hash, signature(image))


# ---- what is said of files that are not, or hardly, read


def listing(lines: list[str]) -> str:
    """At most ten lines, indented, and how many more there are."""
    more = [f"and {len(lines) - MAX_LISTED} others"] if len(lines) > MAX_LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:MAX_LISTED], *more])


def _listing(source: Source, bad: list[tuple[Record, str]]) -> str:
    lines = [reason for _, reason in bad]
    advice = ""
    if any(line.endswith(OUTSIDE) for line in lines):
        advice = ". Links out of the folder are not followed: cp -rL FOLDER COPY makes a copy without links"
    counts = "; ".join(["--skip-bad leaves them out", *_by_class(source, bad)])
    return f"{len(bad)} file(s) in {source.root} cannot be used ({counts}){advice}:{listing(lines)}"


def _by_class(source: Source, bad: list[tuple[Record, str]]) -> list[str]:
    """How many photographs each class loses: a bias, where one loses more."""
    everything = Counter(record.label for record in source.records)
    lost = Counter(record.label for record, _ in bad if record.label is not None)
    return [
        f"{count} of {everything[label]} photographs of {printable(source.class_names[label])!r}"
        for label, count in sorted(lost.items())
    ]


def _warning_notes(warned: dict[str, str]) -> Iterator[str]:
    if warned:
        lines = [f"{name} ({message})" for name, message in sorted(warned.items())]
        more = f" and {len(lines) - MAX_LISTED} others" if len(lines) > MAX_LISTED else ""
        yield f"{len(lines)} files were read, but are not quite in order: {', '.join(lines[:MAX_LISTED])}{more}"


@contextmanager
def _named_warnings() -> Iterator[tuple[dict[str, str], threading.local]]:
    """Collects decoders' warnings by the file that each thread is at: `current.name`. Pillow names none."""
    warned: dict[str, str] = {}
    current = threading.local()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: warned.setdefault(
            getattr(current, "name", ""), " ".join(str(message).split())
        )
        yield warned, current
