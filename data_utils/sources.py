"""Recognise how photographs are laid out, and list each with its class and group."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_utils import segmentation
from data_utils.decode import SUFFIXES
from data_utils.errors import DataError

# Which class is the positive one is never guessed from the alphabet.
POSITIVE_NAMES = {"1", "positive", "aug-positive", "infected", "infection", "ischaemia", "ischemia"} | {
    "ulcer",
    "dfu",
    "wound",
    "abnormal",
    "diseased",
}
GROUP_PATTERN = r"([^_]+)_"  # the text before the first underscore
MANIFEST_COLUMNS = ("path", "label", "group")
MAX_UNPARSED = 0.01  # share of file names without a group


@dataclass(frozen=True)
class Record:
    """One photograph; with a mask, one that is still to be cut into patches (its label is None)."""

    path: Path
    label: int | None
    group: str
    mask: Path | None = None


@dataclass(frozen=True)
class Source:
    """Photographs below `root`, with class names (negative, positive) and remarks for the user."""

    layout: str
    root: Path
    class_names: tuple[str, str]
    records: list[Record]
    notes: tuple[str, ...] = ()


def recognise(data: Path, *, positive: str | None = None, group_pattern: str | None = None) -> Source:
    """List the photographs of a manifest (`path,label,group`), of DFU Part B, of the Foot Ulcer Segmentation
    Challenge, or of a folder per class, tried in this order.

    `positive` names the positive class; `group_pattern` is a regular expression, matched at the start of a file
    name, whose one group is the patient or wound. Raises `DataError` where no layout fits, and where something cannot
    be read.
    """
    try:
        return _recognise(data, positive, group_pattern)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link in a loop, before Python 3.13
        raise DataError(f"{data} cannot be read: {error}") from None


def _recognise(data: Path, positive: str | None, group_pattern: str | None) -> Source:
    if not data.exists():
        raise DataError(f"{data} does not exist")
    if not data.is_dir():
        return _manifest(data, positive, group_pattern)
    if infection := _part_b_folder(data):
        return _part_b(data, infection, positive, group_pattern)
    if pairs := list(_mask_folders(data)):
        return _segmentation_challenge(data, pairs, positive, group_pattern)
    return _folder_per_class(data, positive, group_pattern)


# ---- the four layouts


def _manifest(data: Path, positive: str | None, group_pattern: str | None) -> Source:
    if data.suffix.lower() != ".csv" or not data.is_file():
        raise DataError(f"{data} is neither a folder nor a .csv manifest with the columns path,label,group")
    if group_pattern is not None:
        raise DataError(f"--group-pattern has no use with {data}: its column group says it")
    rows = _rows(data)
    class_names = _class_names(sorted({label for _, label, _ in rows}), data, positive)
    records = [
        Record(data.parent / path, class_names.index(label), group or f"row {number}")
        for number, (path, label, group) in enumerate(rows)
    ]
    return Source("CSV manifest", data.parent, class_names, records)


def _rows(data: Path) -> list[list[str]]:
    """The columns path, label and group of a CSV file."""
    try:
        with open(data, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{data} cannot be read as CSV: {error}") from None
    if wrong := [name for name in MANIFEST_COLUMNS if header.count(name) != 1]:
        raise DataError(
            f"{data} must have each of the columns path,label,group once, named in its first line; "
            f"wrong: {', '.join(wrong)}"
        )
    if uneven := [number for number, row in enumerate(rows, 1) if len(row) != len(header)]:
        raise DataError(f"{data}: row {uneven[0]} has {len(rows[uneven[0] - 1])} cells, but {len(header)} are named")
    places = [header.index(name) for name in MANIFEST_COLUMNS]
    return [[row[place] for place in places] for row in rows]


def _part_b(data: Path, infection: Path, positive: str | None, group_pattern: str | None) -> Source:
    class_names = _class_names(["Aug-Negative", "Aug-Positive"], infection, positive)
    records, notes = _class_records(infection, class_names, group_pattern or GROUP_PATTERN)
    if any((folder / "Ischaemia").is_dir() for folder in (infection.parent, data)):
        notes += ("The folder Ischaemia is another task and was left out.",)
    notes = ("Aug-Positive holds infected wounds, Aug-Negative wounds without infection.", *notes)
    return Source("DFU Part B, Infection", data, class_names, records, notes)


def _segmentation_challenge(
    data: Path, pairs: list[tuple[Path, Path]], positive: str | None, group_pattern: str | None
) -> Source:
    photographs: list[tuple[Path, Path]] = []
    num_ignored = 0
    for image_folder, mask_folder in pairs:
        images, ignored = _images(image_folder, data)
        masks = {path.stem: path for path in _images(mask_folder, data)[0]}
        if unmatched := sorted({path.stem for path in images} ^ masks.keys()):
            raise DataError(
                f"{image_folder} and {mask_folder} must hold the same names; only in one of them: "
                + ", ".join(map(repr, unmatched[:5]))
            )
        photographs += [(path, masks[path.stem]) for path in images]
        num_ignored += ignored
    paths = [path for path, _ in photographs]
    # Without a pattern each photograph is its own group.
    groups = _parse_groups(paths, data, group_pattern) if group_pattern else _own_groups(paths, data)
    records = [
        Record(path, None, group, mask) for (path, mask), group in zip(photographs, groups, strict=True)
    ]
    notes = ("Square patches are cut around each wound, and from skin of the same photograph.",)
    if not group_pattern:
        notes += (
            "WARNING: each photograph counts as its own group. Some show the same patient, whom their names do not "
            "tell; where names do, say so: --group-pattern REGEX.",
        )
    if (data / "test").is_dir():
        notes += ("The folder test has no public masks and was left out.",)
    class_names = _class_names(list(segmentation.CLASS_NAMES), data, positive)
    layout = "Foot Ulcer Segmentation Challenge, images and masks"
    return Source(layout, data, class_names, records, notes + _ignored_note(num_ignored))


def _folder_per_class(data: Path, positive: str | None, group_pattern: str | None) -> Source:
    folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    # A disk's root holds a lost+found that nobody may read; within a class such a folder is an error.
    names = [path.name for path in folders if os.access(path, os.R_OK | os.X_OK) and _images(path, data)[0]]
    class_names = _class_names(names, data, positive)
    records, notes = _class_records(data, class_names, group_pattern)
    return Source("a folder per class", data, class_names, records, notes)


# ---- folders


def _part_b_folder(data: Path) -> Path | None:
    found = [
        Path(parent)
        for parent, folders, _ in os.walk(data)
        if Path(parent).resolve().name == "Infection" and {"Aug-Negative", "Aug-Positive"} <= set(folders)
    ]
    if len(found) > 1:
        raise DataError(
            f"{data} holds several Infection folders; name one: " + ", ".join(map(repr, map(str, sorted(found))))
        )
    return found[0] if found else None


def _mask_folders(data: Path) -> Iterator[tuple[Path, Path]]:
    for folder in (data, data / "train", data / "validation"):
        for masks in ("labels", "masks"):
            if (folder / "images").is_dir() and (folder / masks).is_dir():
                yield folder / "images", folder / masks


def _images(folder: Path, root: Path) -> tuple[list[Path], int]:
    """Image files below `folder`, sorted, and the number of other entries; links to folders are not followed."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{str(folder)!r} is a link that leads out of {root}; put the folder itself there")
    images, ignored = [], 0
    for parent, folders, names in os.walk(folder, onerror=_stop):
        ignored += sum(Path(parent, name).is_symlink() for name in folders)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in names]
        images += [
            path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        ignored += len(paths)
    return sorted(images), ignored - len(images)


def _stop(error: OSError) -> None:
    """For `os.walk`, which passes over folders that it cannot read."""
    raise error


def _class_records(
    folder: Path, class_names: tuple[str, str], group_pattern: str | None
) -> tuple[list[Record], tuple[str, ...]]:
    listed = [_images(folder / name, folder) for name in class_names]
    labelled = [(path, label) for label, (paths, _) in enumerate(listed) for path in paths]
    paths = [path for path, _ in labelled]
    notes = _ignored_note(sum(ignored for _, ignored in listed))
    if group_pattern is None and not any(re.match(GROUP_PATTERN, path.name) for path in paths):
        groups = _own_groups(paths, folder)
        notes += (
            "WARNING: no file name has an underscore, so each image counts as its own group. If several images show "
            "one patient or wound, name it: --group-pattern REGEX.",
        )
    else:
        groups = _parse_groups(paths, folder, group_pattern or GROUP_PATTERN)
    return [Record(path, label, group) for (path, label), group in zip(labelled, groups, strict=True)], notes


def _ignored_note(count: int) -> tuple[str, ...]:
    return (f"{count} other files (not images, hidden, or linked folders) were left out.",) if count else ()


# ---- what names mean


def _class_names(names: list[str], data: Path, positive: str | None) -> tuple[str, str]:
    """(negative, positive) out of the names found."""
    if len(names) != 2:
        raise DataError(
            f"{data} holds {len(names)} class(es) of images ({', '.join(map(repr, names)) or 'none'}); exactly two "
            "are needed: two folders with images, or two values of the column label"
        )
    if odd := [name for name in names if not _is_text(name)]:
        raise DataError(f"the class {odd[0]!r} in {data} is not named in UTF-8; rename it")
    if positive is not None:
        matches = [name for name in names if name == positive]
    else:
        matches = [name for name in names if re.sub(r"[ _]", "-", name.lower()) in POSITIVE_NAMES]
    if len(matches) != 1:
        raise DataError(
            f"which of {names[0]!r} and {names[1]!r} in {data} is the positive class? Say --positive NAME"
        )
    negative = next(name for name in names if name != matches[0])
    return negative, matches[0]


def _is_text(name: str) -> bool:
    """Whether tables can hold it: a folder's name may be any bytes."""
    return name.encode(errors="ignore").decode() == name


def _own_groups(paths: list[Path], root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def _parse_groups(paths: list[Path], root: Path, pattern: str) -> list[str]:
    """The pattern's group in each file name; the few names without one are their own group."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-pattern {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups != 1:
        raise DataError(f"--group-pattern {pattern!r} must have exactly one group in parentheses")
    matches = [compiled.match(path.name) for path in paths]
    unparsed = [path.name for path, match in zip(paths, matches, strict=True) if not match]
    if len(unparsed) > MAX_UNPARSED * len(paths):
        raise DataError(
            f"{len(unparsed)} of {len(paths)} file names in {root} do not match the group pattern {pattern!r}, "
            f"{unparsed[0]!r} for one; give --group-pattern REGEX whose one group is the patient or wound"
        )
    own = _own_groups(paths, root)
    return [match[1] if match else name for match, name in zip(matches, own, strict=True)]
