"""Photographs -> one prepared Parquet file, with its split frozen in it."""

import contextlib
import hashlib
import hmac
import io
import os
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_utils import near_duplicates, phantoms
from data_utils.decode import BadImage, decode, square
from data_utils.errors import DataError
from data_utils.parquet_file import read_table, write_table
from data_utils.segmentation import cut_patches
from data_utils.sources import Record, Source, recognise
from data_utils.split import MIN_IMAGES, check_class_sizes, grouped_split, random_split

FORMAT = 1  # of the prepared file; part of the fingerprint
MAX_LEAKS = 5  # printed
SPLITS: dict[str, Callable] = {
    "grouped": grouped_split,
    "random": lambda labels, groups, seed: random_split(labels, seed),
    "none": lambda labels, groups, seed: np.full(len(labels), "test", dtype=object),  # an external test set
}


@dataclass(frozen=True)
class Prepared:
    """Where the prepared file lies and what is in it; `counts` are (negatives, positives) by side of the split.

    `leaks` names the files of different groups that look the same, as the user knows them: they may tell who a patient
    is and go to the console only, as do `files`, each with the salted id of its image. `num_leaked_test` test images
    have their group on the training side too.
    """

    path: Path
    fingerprint: str
    layout: str
    class_names: tuple[str, str]
    image_size: int
    split_protocol: str
    split_seed: int
    counts: dict[str, tuple[int, int]]
    num_groups: int
    num_near_duplicates: int
    num_skipped: int
    is_sample: bool
    notes: tuple[str, ...]
    leaks: tuple[tuple[str, str], ...]
    num_leaked_test: int
    files: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """What was recognised, in a few lines of at most 80 columns."""
        negative, positive = map(_printable, self.class_names)
        total = sum(map(sum, self.counts.values()))
        leak = ": RANDOM, as in the paper; images of one group lie on several sides"
        lines = [
            f"data         {self.layout}",
            f"prepared     {self.image_size} px, fingerprint {self.fingerprint}",
            f"classes      1 = {positive} (positive), 0 = {negative} (negative)",
            f"images       {total} in {self.num_groups} groups; {self.num_skipped} bad files skipped",
            f"duplicates   {self.num_near_duplicates} near-duplicate pairs across groups, merged",
            *(
                f"leak         {_printable(a)} and {_printable(b)} look the same but have different groups; merged"
                for a, b in self.leaks[:MAX_LEAKS]
            ),
            f"split        seed {self.split_seed}, 70:15:15 by group"
            if self.split_protocol == "grouped"
            else f"split        seed {self.split_seed}, 70:15:15{leak}",
            *(
                f"  {side:<10} {n + p} images: {n} negative, {p} positive"
                for side, (n, p) in self.counts.items()
            ),
            f"leakage      {self.num_leaked_test} of {sum(self.counts['test'])} test images have their group or a "
            "near-copy in training",
            *(f"note         {_printable(note)}" for note in self.notes),
        ]
        # Names stay whole, to be searched for.
        wrap = textwrap.TextWrapper(80, subsequent_indent=" " * 13, break_long_words=False, break_on_hyphens=False)
        return "\n".join(map(wrap.fill, lines))


@dataclass(frozen=True)
class _Patch:
    name: str  # of its file
    png: bytes
    label: int
    group: str
    content_hash: str
    hashes: np.ndarray
    thumbnail: np.ndarray


def prepare(
    data: Path | None,
    folder: Path,
    *,
    image_size: int,
    split_protocol: str = "grouped",
    split_seed: int = 0,
    positive: str | None = None,
    group_pattern: str | None = None,
    skip_bad: bool = False,
) -> Prepared:
    """Write `<folder>/<fingerprint>.parquet` from the photographs in `data` (None: the embedded sample data).

    Photographs that are not square are cropped to their centre. Images that look the same join their groups before
    the split. The fingerprint follows from pixels, labels, grouping, split and size alone, so that the same
    photographs have the same one everywhere; groups and ids in the file are salted by `<folder>/salt`.
    A file of that fingerprint is reused. Raises `DataError` for whatever is wrong with the photographs, with all
    files that cannot be decoded listed unless `skip_bad` leaves them out.
    """
    if split_protocol not in SPLITS:
        raise DataError(f"split protocol {split_protocol!r} is unknown; it is one of {', '.join(SPLITS)}")
    if data is None:
        source, patches, num_skipped = *_sample(image_size), 0
    else:
        source = recognise(data, positive=positive, group_pattern=group_pattern)
        patches, num_skipped = _decode_all(source, image_size, skip_bad)
    # An order that file names have no part in
    patches.sort(key=lambda patch: (patch.content_hash, patch.label))
    labels = np.array([patch.label for patch in patches], dtype=np.int64)
    check_class_sizes(labels, 1 if split_protocol == "none" else MIN_IMAGES)
    groups, pairs = _merged_groups(patches)
    split = SPLITS[split_protocol](labels, groups, split_seed)
    fingerprint = _fingerprint(patches, groups, split, image_size, split_protocol)
    metadata = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "layout": source.layout,
        "class_names": list(source.class_names),
        "image_size": image_size,
        "split_protocol": split_protocol,
        "split_seed": split_seed,
        "num_near_duplicates": len(pairs),
        "num_skipped": num_skipped,
        "is_sample": data is None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fingerprint}.parquet"
    columns = _columns(patches, groups, split, _salt(folder))
    if not is_written(path, metadata):
        write_table(path, columns, metadata)
    sides = {name: labels[split == name] for name in ("train", "validation", "test")}
    counts = {name: (int((side == 0).sum()), int((side == 1).sum())) for name, side in sides.items()}
    known = {name: value for name, value in metadata.items() if name not in ("format", "class_names")}
    return Prepared(
        path=path,
        class_names=source.class_names,
        counts=counts,
        num_groups=len(np.unique(groups)),
        notes=source.notes,
        leaks=tuple(sorted({tuple(sorted((patches[i].name, patches[j].name))) for i, j in pairs})),
        num_leaked_test=near_duplicates.num_leaked_test(split, groups),
        files=tuple(sorted(zip((patch.name for patch in patches), columns["image_id"], strict=True))),
        **known,
    )


# ---- pixels


def _sample(image_size: int) -> tuple[Source, list[_Patch]]:
    rendered = phantoms.render_phantoms(size=image_size)
    patches = [
        _patch(f"phantom {number}", Image.fromarray(pixels), label, group, image_size)
        for number, (pixels, label, group) in enumerate(rendered)
    ]
    return Source("sample data: rendered wound phantoms", Path(), phantoms.CLASS_NAMES, []), patches


def _decode_all(source: Source, image_size: int, skip_bad: bool) -> tuple[list[_Patch], int]:
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda record: _try_decode(record, source, image_size), source.records))
    bad = [result for result in decoded if isinstance(result, str)]
    if bad and not skip_bad:
        listing = "\n  ".join(bad)
        raise DataError(
            f"{len(bad)} file(s) in {source.root} cannot be used (--skip-bad leaves them out):\n  {listing}"
        )
    return [patch for result in decoded if not isinstance(result, str) for patch in result], len(bad)


def _try_decode(record: Record, source: Source, image_size: int) -> list[_Patch] | str:
    """The patches of one file, or its name and the reason why there are none."""
    name = os.path.relpath(record.path, source.root)
    try:
        image = decode(record.path, source.root)
        if record.mask is None:
            return [_patch(name, image, record.label, record.group, image_size)]
        mask = decode(record.mask, source.root)
        if mask.size != image.size:
            raise BadImage(f"{image.size} pixels, but its mask has {mask.size}")
        index = source.class_names.index
        cuts = cut_patches(image, mask)
        return [_patch(name, cut, index(class_name), record.group, image_size) for cut, class_name in cuts]
    except BadImage as reason:
        return _printable(f"{name}: {reason}")


def _patch(name: str, image: Image.Image, label: int, group: str, image_size: int) -> _Patch:
    image = square(image, image_size)
    png = io.BytesIO()
    image.save(png, "PNG")
    content_hash = hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
    hashes, thumbnail = near_duplicates.perceptual_hashes(image), near_duplicates.thumbnail(image)
    return _Patch(name, png.getvalue(), label, group, content_hash, hashes, thumbnail)


# ---- groups, fingerprint, file


def _merged_groups(patches: list[_Patch]) -> tuple[np.ndarray, np.ndarray]:
    """Groups (N,) numbered in the order of their first image, and the near-duplicate pairs (P, 2) that joined some."""
    groups = pd.factorize(np.array([patch.group for patch in patches], dtype=object))[0]
    hashes, thumbnails = (
        np.stack([getattr(patch, name) for patch in patches]) for name in ("hashes", "thumbnail")
    )
    pairs = near_duplicates.find_pairs(hashes, thumbnails, groups)
    return pd.factorize(near_duplicates.merge_groups(groups, pairs))[0], pairs


def _fingerprint(
    patches: list[_Patch], groups: np.ndarray, split: np.ndarray, image_size: int, protocol: str
) -> str:
    digest = hashlib.sha256(f"{FORMAT} {image_size} {protocol}".encode())
    for patch, group, side in zip(patches, groups, split, strict=True):
        digest.update(f"\n{patch.content_hash} {patch.label} {group} {side}".encode())
    return digest.hexdigest()[:16]


def _salt(folder: Path) -> bytes:
    path = folder / "salt"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".salt.") as file:  # mode 0600
            file.write(os.urandom(32))
            file.flush()
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(file.name, path)
    return path.read_bytes()


def _columns(patches: list[_Patch], groups: np.ndarray, split: np.ndarray, salt: bytes) -> dict[str, list]:
    def salted(text: str) -> str:
        return hmac.new(salt, text.encode(), "sha256").hexdigest()[:16]

    hashes = pd.Series([patch.content_hash for patch in patches])
    copies = hashes.groupby(hashes).cumcount()  # exact copies get ids of their own
    first = (
        pd.Series(hashes.to_numpy()).groupby(groups).transform("first")
    )  # a group is called after its first image
    return {
        "image": [patch.png for patch in patches],
        "label": [patch.label for patch in patches],
        "group": [salted(f"group {name}") for name in first],
        "split": split.tolist(),
        "image_id": [salted(f"image {name} {copy}") for name, copy in zip(hashes, copies, strict=True)],
        "content_hash": hashes.tolist(),
    }


def is_written(path: Path, metadata: dict) -> bool:
    """Whether the prepared file of this metadata is there; a damaged one is set aside, to be written again."""
    if not path.exists():
        return False
    try:
        return read_table(path)[1] == metadata
    except DataError:
        path.replace(path.with_name(f"{path.name}.damaged"))
        warnings.warn(f"{path} is damaged and was set aside as {path.name}.damaged; it is made again", stacklevel=3)
        return False


def _printable(text: str) -> str:
    """Names come from data: what could steer a terminal is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
