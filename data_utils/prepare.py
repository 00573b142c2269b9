"""Photographs -> one prepared Parquet file, with its split frozen in it."""

import contextlib
import hashlib
import hmac
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from data_utils.duplicates.pairs import Progress, find_pairs, merge_groups, num_leaked_test, unseen
from data_utils.errors import DataError
from data_utils.layouts import recognise
from data_utils.layouts.groups import MAX_GUESSED_SHARE, MIN_JUDGED
from data_utils.parquet_file import read_table, write_table
from data_utils.patches import Patch, decode_all, listing, sample_patches
from data_utils.prepared import Prepared, printable
from data_utils.split import MIN_IMAGES, check_class_sizes, given_split, grouped_split, random_split

FORMAT = 1  # of the prepared file; part of the fingerprint
SPLITS: dict[str, Callable] = {
    "grouped": grouped_split,
    "random": random_split,
    "none": lambda labels, groups, seed: np.full(len(labels), "test", dtype=object),  # an external test set
}
PROTOCOLS = (*SPLITS, "given")
SIDES = ("train", "validation", "test")
MAX_ALIKE = 5  # printed
SALT_BYTES = 32


def prepare(
    data: Path | None,
    folder: Path,
    *,
    image_size: int,
    split_protocol: str = "grouped",
    split_seed: int = 0,
    positive: str | None = None,
    negative: str | None = None,
    group_pattern: str | None = None,
    copies: str | None = None,
    skip_bad: bool = False,
    progress: Progress = unseen,
) -> Prepared:
    """Write `<folder>/<fingerprint>.parquet` from the photographs in `data` (None: the embedded sample data).

    Photographs that are not square are cropped to their centre. Images that look the same, or with `copies` "equal"
    those of equal pixels, join their groups before the split. The fingerprint follows from pixels, labels, grouping,
    split and size alone, so that the same photographs have the same one everywhere; groups and ids in the file are
    salted by `<folder>/salt`.
    A file of that fingerprint is reused. `progress` is called after each photograph, and while they are compared.
    Raises `DataError` for whatever is wrong with the photographs; files that cannot be decoded, and equal pictures in
    both classes, are listed unless `skip_bad` leaves them out.
    """
    if split_protocol not in PROTOCOLS:
        raise DataError(f"split protocol {split_protocol!r} is unknown; it is one of {', '.join(PROTOCOLS)}")
    if data is None:
        source, patches, num_skipped, notes = *sample_patches(image_size), 0, ()
    else:
        source = recognise(data, positive=positive, negative=negative, group_pattern=group_pattern)
        patches, num_skipped, notes = decode_all(source, image_size, skip_bad, progress)
    # An order that file names have no part in
    patches.sort(key=lambda patch: (patch.content_hash, patch.label))
    num_decoded = len(patches)
    patches = _without_contradictions(patches, skip_bad)
    num_skipped += num_decoded - len(patches)
    labels = np.array([patch.label for patch in patches], dtype=np.int64)
    check_class_sizes(labels, 1 if split_protocol == "none" else MIN_IMAGES, source.notes)
    groups, pairs, alike = _merged_groups(patches, labels, copies, progress)
    split = _split(split_protocol, labels, groups, split_seed, patches)
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
    known = {name: value for name, value in metadata.items() if name not in ("format", "class_names")}
    return Prepared(
        path=path,
        class_names=source.class_names,
        counts={side: _by_class(labels[split == side]) for side in SIDES},
        group_counts={side: _groups_by_class(groups[split == side], labels[split == side]) for side in SIDES},
        num_groups=len(np.unique(groups)),
        notes=(*source.notes, *notes, *(_alike_in_both_classes(patches, alike) if data else ())),
        leaks=tuple(_names_of_pairs(patches, pairs)),
        num_leaked_test=num_leaked_test(split, groups),
        files=tuple(sorted(zip((patch.name for patch in patches), columns["image_id"], strict=True))),
        **known,
    )


# ---- labels


def _without_contradictions(patches: list[Patch], skip_bad: bool) -> list[Patch]:
    """The patches but for equal pictures in both classes; `DataError` unless these are to be skipped."""
    labels: dict[str, set[int]] = {}
    for patch in patches:
        labels.setdefault(patch.content_hash, set()).add(patch.label)
    contradictory = [patch for patch in patches if len(labels[patch.content_hash]) > 1]
    if contradictory and not skip_bad:
        pictures: dict[str, list[str]] = {}
        for patch in contradictory:
            pictures.setdefault(patch.content_hash, []).append(patch.name)
        lines = sorted(printable(" = ".join(sorted(names))) for names in pictures.values())
        raise DataError(
            f"{len(lines)} picture(s) lie in both classes; take them out of the wrong one, or leave all of them out "
            f"with --skip-bad:{listing(lines)}"
        )
    return [patch for patch in patches if len(labels[patch.content_hash]) == 1]


def _alike_in_both_classes(patches: list[Patch], pairs: np.ndarray) -> tuple[str, ...]:
    names = [f"{a} and {b}" for a, b in _names_of_pairs(patches, pairs)]
    if not names:
        return ()
    more = f" and {len(names) - MAX_ALIKE} other pairs" if len(names) > MAX_ALIKE else ""
    return (f"WARNING: pictures that look the same have different labels: {'; '.join(names[:MAX_ALIKE])}{more}",)


def _names_of_pairs(patches: list[Patch], pairs: np.ndarray) -> list[tuple[str, ...]]:
    return sorted({tuple(sorted((patches[i].name, patches[j].name))) for i, j in pairs})


def _by_class(labels: np.ndarray) -> tuple[int, int]:
    return int((labels == 0).sum()), int((labels == 1).sum())


def _groups_by_class(groups: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    return len(np.unique(groups[labels == 0])), len(np.unique(groups[labels == 1]))


# ---- groups, fingerprint, file


def _merged_groups(
    patches: list[Patch], labels: np.ndarray, copies: str | None, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups (N,) numbered in the order of their first image, the near-duplicate pairs (P, 2) that joined some, and
    the pairs whose labels differ. Raises `DataError` where nearly all photographs look alike."""
    groups = pd.factorize(np.array([patch.group for patch in patches], dtype=object))[0]
    if copies == "equal":  # neighbours, since the patches are sorted by their pixels
        hashes = np.array([patch.content_hash for patch in patches])
        first = np.flatnonzero(hashes[1:] == hashes[:-1])
        pairs = np.stack([first, first + 1], axis=1)
    else:
        pairs = find_pairs([patch.signature for patch in patches], groups, labels, progress)
    across = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
    merged = pd.factorize(merge_groups(groups, across))[0]
    size, before = (np.bincount(numbers).max() for numbers in (merged, groups))
    if len(groups) >= MIN_JUDGED and size > MAX_GUESSED_SHARE * len(groups) and size > 2 * before:
        a, b = _names_of_pairs(patches, across)[0]
        raise DataError(
            f"{len(across)} pairs of photographs of different groups look the same, {a} and {b} for one; they would "
            f"join {size} of {len(groups)} photographs in one group. If these two show different patients, as whole "
            "feet on a plain ground may look alike, --copies equal joins photographs of equal pixels alone"
        )
    return merged, across, pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]


def _split(protocol: str, labels: np.ndarray, groups: np.ndarray, seed: int, patches: list[Patch]) -> np.ndarray:
    if protocol == "given":
        return given_split(labels, groups, seed, np.array([patch.side for patch in patches], dtype=object))
    return SPLITS[protocol](labels, groups, seed)


def _fingerprint(
    patches: list[Patch], groups: np.ndarray, split: np.ndarray, image_size: int, protocol: str
) -> str:
    digest = hashlib.sha256(f"{FORMAT} {image_size} {protocol}".encode())
    for patch, group, side in zip(patches, groups, split, strict=True):
        digest.update(f"\n{patch.content_hash} {patch.label} {group} {side}".encode())
    return digest.hexdigest()[:16]


def _salt(folder: Path) -> bytes:
    path = folder / "salt"
    with contextlib.suppress(FileExistsError):  # it is there, or another process is first
        # One write of 32 bytes: a reader sees them all. Hard links, which would be safer still, exFAT does not have.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, os.urandom(SALT_BYTES))
        os.close(descriptor)
    return _read_salt(path)


def _read_salt(path: Path, patience: float = 5.0) -> bytes:
    """The salt, waited for where another process has made the file and not filled it yet."""
    deadline = time.monotonic() + patience
    while len(salt := path.read_bytes()) != SALT_BYTES:
        if time.monotonic() > deadline:
            raise DataError(f"{path} does not hold {SALT_BYTES} bytes; move the folder {path.parent} away")
        time.sleep(0.01)
    return salt


def _columns(patches: list[Patch], groups: np.ndarray, split: np.ndarray, salt: bytes) -> dict[str, list]:
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
