"""A list of photographs with their classes: CSV with a column of labels, or with one column a class (one-hot)."""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from os.path import abspath, commonpath
from pathlib import Path, PureWindowsPath

from data_utils.errors import DataError
from data_utils.layouts.class_names import choose_classes
from data_utils.layouts.groups import name_groups
from data_utils.layouts.image_files import SUFFIXES, side_of
from data_utils.layouts.source import Flags, Record, Source, listed, sides_note

FILE_TYPES = (".csv", ".tsv", ".txt")
# What is asked for, and other names that lists give it; the first that is there is taken
COLUMNS = {
    "path": ("path", "image", "file", "filename", "filepath", "imagepath", "imagename", "imageid", "img", "photo"),
    "label": ("label", "class", "classname", "category", "diagnosis", "target", "infected", "y"),
    "group": (
        "group", "patient", "patientid", "patientno", "patientnumber", "patientnr", "patientcode", "subject",
        "subjectid", "participant", "participantid", "person", "personid", "case", "caseid", "wound", "woundid",
    ),
    "side": ("split", "side", "subset", "partition", "set"),
}  # fmt: skip
PERSON = re.compile(
    "(?!.*(age|sex|gender)).*(patient|subject|participant|person).*|mrn|lesion|pat"
    "|(p|pat|mrn|lesion|ulcer|foot|record|medicalrecord|hospital)(id|no|nr|number|code)"
)  # names of columns, letters alone
BOXES = {"xmin", "ymin", "xmax", "ymax", "bbox"}
ASKED = "a CSV manifest has the columns path,label,group, or a path and one column of 0 and 1 for each class"


@dataclass(frozen=True)
class _Row:
    number: int  # of its line, the header being line 1
    path: Path
    label: str
    group: str
    side: str | None


def manifest(data: Path, flags: Flags) -> Source:
    """The photographs that a CSV file lists; paths count from the folder that it lies in."""
    header, lines = _read_cells(data)
    places = _columns(data, header, lines)
    if "group" in places and flags.group_pattern is not None:
        raise DataError(f"--group-pattern has no use with {data}: its column {header[places['group']]!r} says it")
    files = cache(_files)
    rows = [_row(data, places, files, *line) for line in _labelled(data, header, places, lines)]
    rows, notes = _without_repeats(data, rows)
    _refuse_missing(data, rows)
    _refuse_outside(data, rows)
    found = sorted({row.label for row in rows})
    classes = choose_classes(found, data, flags)
    rows = [row for row in rows if row.label in classes.labels]
    groups = [row.group or f"line {row.number}" for row in rows]
    if "group" not in places:
        groups, group_notes = name_groups(_below(data, rows, flags.group_pattern), flags.group_pattern)
        notes += group_notes
    records = [
        Record(row.path, classes.labels[row.label], group, side=row.side)
        for row, group in zip(rows, groups, strict=True)
    ]
    notes = classes.left_out(found) + notes + sides_note(records)
    return Source("CSV manifest", data.parent, classes.names, records, notes)


# ---- text to cells


def _read_cells(data: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each line that is not empty with its number."""
    try:
        text = _text(data.read_bytes())
        separator = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        lines = [(number, row) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeError) as error:
        raise DataError(f"{data} cannot be read as CSV: {error}; save it as CSV in UTF-8") from None
    if not lines:
        raise DataError(f"{data} is empty; {ASKED}")
    (_, header), *lines = lines
    if uneven := [(number, row) for number, row in lines if len(row) != len(header)]:
        number, row = uneven[0]
        raise DataError(f"{data}: line {number} has {len(row)} cells, but the first line names {len(header)}")
    return [cell.strip() for cell in header], lines


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


# ---- what the columns mean


def _columns(data: Path, header: list[str], lines: list) -> dict[str, int]:
    """The place of each column of `COLUMNS` that is there; path always is, label unless there is one a class."""
    names = [re.sub(r"[^a-z]", "", name.lower()) for name in header]
    places = {}
    for column, others in COLUMNS.items():
        wanted = next((name for name in others if name in names), None)
        if wanted and names.count(wanted) > 1:
            raise DataError(f"{data} has several columns {header[names.index(wanted)]!r}; leave one")
        if wanted:
            places[column] = names.index(wanted)
    people = [place for place, name in enumerate(names) if place not in places.values() and PERSON.fullmatch(name)]
    if "group" not in places and people:
        name = header[people[0]]
        raise DataError(f"{data}: does the column {name!r} tell the patient? Name it 'group', or leave it out")
    for place in people:
        _refuse_torn(data, header, lines, place, places["group"])
    if "side" in places and not _are_sides({cells[places["side"]].strip() for _, cells in lines}):
        del places["side"]  # folds, or anything else of that name
    if "path" not in places or ("label" not in places and len(_class_columns(places, header, lines)) < 2):
        missing = "path" if "path" not in places else "label"
        seen = f"{data} has no column {missing}, but {listed(header)}"
        if set(names) & BOXES:
            raise DataError(f"{seen}: boxes, which say where something lies and not of which class it is; {ASKED}")
        raise DataError(f"{seen}; {ASKED}")
    return places


def _refuse_torn(data: Path, header: list[str], lines: list, person: int, group: int) -> None:
    """Raise `DataError` where photographs of one person are in several groups."""
    groups: dict[str, set[str]] = {}
    for _, cells in lines:
        groups.setdefault(cells[person].strip(), set()).add(cells[group].strip())
    torn = [name for name, found in groups.items() if name and len(found) > 1]
    if torn:
        raise DataError(
            f"{data}: photographs of one {header[person]!r}, {torn[0]!r} for one, are in several groups of the column "
            f"{header[group]!r}. Name the column that tells the patient 'group', and leave the other out"
        )


def _are_sides(cells: set[str]) -> bool:
    """Whether they name sides of a split, as far as they are not empty."""
    return cells != {""} and all(map(side_of, cells - {""}))


def _class_columns(places: dict[str, int], header: list[str], lines: list) -> list[int]:
    """Columns that hold nothing but 0 and 1, one a class."""
    free = [place for place in range(len(header)) if place not in places.values()]
    return [place for place in free if lines and {_flag(cells[place]) for _, cells in lines} <= {0, 1, None}]


def _flag(cell: str) -> int | float | None:
    """0 or 1 as numbers or words may say it; None for an empty cell, NaN for anything else."""
    text = cell.strip().lower()
    known = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    return known.get(text, float("nan"))


def _labelled(data: Path, header: list[str], places: dict[str, int], lines: list) -> list[tuple[int, list[str], str]]:
    """Each line's number, cells and label."""
    if "label" in places:
        return [(number, cells, cells[places["label"]].strip()) for number, cells in lines]
    classes = _class_columns(places, header, lines)
    marked = [(number, cells, [header[place] for place in classes if _flag(cells[place])]) for number, cells in lines]
    if wrong := [number for number, _, names in marked if len(names) != 1]:
        raise DataError(
            f"{data}: {len(wrong)} of {len(lines)} lines do not have 1 in exactly one of the columns "
            f"{listed(header[place] for place in classes)}, line {wrong[0]} for one; take these lines out"
        )
    return [(number, cells, names[0]) for number, cells, names in marked]


def _row(data: Path, places: dict[str, int], files: Callable, number: int, cells: list[str], label: str) -> _Row:
    path, group, side = (cells[places[name]].strip() if name in places else "" for name in ("path", "group", "side"))
    return _Row(number, _resolve(data.parent, path, files), label, group, side_of(side))


def _resolve(folder: Path, text: str, files: Callable[[Path], dict[str, list[str]]]) -> Path:
    """The file meant: written on Windows or a Mac, or without its suffix, it may have another name here."""
    paths = [folder / text, folder / PureWindowsPath(text).as_posix()]
    for path in paths:
        if path.is_file():
            return path
    for path in paths:
        if len(alike := files(path.parent).get(_alike(path.name), [])) == 1:
            return path.parent / alike[0]
    return paths[0]


def _files(folder: Path) -> dict[str, list[str]]:
    """The photographs in a folder, by how their names are alike with and without the suffix."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if Path(name).suffix.lower() in SUFFIXES:
            for alike in (name, Path(name).stem):
                found.setdefault(_alike(alike), []).append(name)
    return found


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _below(data: Path, rows: list[_Row], pattern: str | None) -> list[Path]:
    """Each path without folders that name the class or a side of a split.

    It counts from the folder of the manifest, for a pattern, and else from the deepest folder that holds all: a folder
    of all photographs tells no patient.
    """
    paths, root = [Path(abspath(row.path)) for row in rows], Path(abspath(data.parent))
    if pattern is None or not all(path.is_relative_to(root) for path in paths):
        root = Path(commonpath([path.parent for path in paths]))
    below = [path.relative_to(root) for path in paths]
    folders = [
        [part for part in path.parts[:-1] if not side_of(part, numbered=False) and part != row.label]
        for path, row in zip(below, rows, strict=True)
    ]
    return [Path(*parts, path.name) for parts, path in zip(folders, below, strict=True)]


# ---- what cannot be meant


def _without_repeats(data: Path, rows: list[_Row]) -> tuple[list[_Row], tuple[str, ...]]:
    """Each file once; raises `DataError` where two lines say different things of one."""
    first: dict[Path, _Row] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        said_first, said = (", ".join(map(repr, (one.label, one.group, one.side or ""))) for one in (other, row))
        if said != said_first:
            raise DataError(
                f"{data}: lines {other.number} and {row.number} say different things of {row.path.name!r}: "
                f"{said_first} and {said}; leave one of them"
            )
    repeats = len(rows) - len(first)
    notes = (f"WARNING: {repeats} lines of {data.name} repeat another and were left out.",) if repeats else ()
    return list(first.values()), notes


def _refuse_outside(data: Path, rows: list[_Row]) -> None:
    """Raise `DataError` for photographs that do not lie below the manifest's folder: none is read from elsewhere."""
    root = Path(abspath(data.parent))
    if outside := [row for row in rows if not Path(abspath(row.path)).is_relative_to(root)]:
        common = commonpath([root, *(abspath(row.path.parent) for row in outside)])
        raise DataError(
            f"{data}: {len(outside)} of {len(rows)} photographs lie outside of {root}, {str(outside[0].path)!r} for "
            f"one; put the manifest into {common}, with paths that count from there"
        )


def _refuse_missing(data: Path, rows: list[_Row]) -> None:
    """Raise `DataError`, with where the files are if they can be found, where most of them are not as listed."""
    missing = [row.path for row in rows if not row.path.is_file() and not row.path.is_symlink()]
    if len(missing) <= len(rows) / 2:
        return
    named = [str(path.relative_to(data.parent)) if path.is_relative_to(data.parent) else str(path) for path in missing]
    kind = Counter("\\" in name or bool(PureWindowsPath(name).drive) for name in named)[True] > len(named) / 2
    name = PureWindowsPath(named[0]).name if kind else missing[0].name
    elsewhere = next(iter(sorted(data.parent.rglob(name))), None) if re.fullmatch(r"[\w. -]+", name) else None
    where = (
        f". {name!r} lies in {elsewhere.parent}: write the paths as they count from {data.parent}"
        if elsewhere
        else f"; paths count from the folder of the manifest, {data.parent}"
    )
    drive = " (paths of another machine, written by Windows)" if kind else ""
    raise DataError(
        f"{len(missing)} of {len(rows)} files that {data} lists are not there{drive}: {listed(named)}{where}"
    )
