"""Which layout lies at a path."""

import shlex
from pathlib import Path

from data_utils.errors import DataError
from data_utils.layouts.class_folders import folder_per_class
from data_utils.layouts.groups import compile_pattern
from data_utils.layouts.manifest import FILE_TYPES, manifest
from data_utils.layouts.part_b import find_infection, part_b
from data_utils.layouts.segmentation_challenge import find_pairs, segmentation_challenge
from data_utils.layouts.source import Flags, Source

ARCHIVES = {".zip": "unzip {} -d {}", ".tar": "tar -xf {} -C {}", ".gz": "tar -xf {} -C {}", ".tgz": "tar -xf {} -C {}"}


def recognise(
    data: Path, *, positive: str | None = None, negative: str | None = None, group_pattern: str | None = None
) -> Source:
    """List the photographs of a manifest, of DFU Part B, of photographs with masks, or of a folder per class.

    They are tried in this order. `positive` and `negative` name the classes to compare, several of those found joined
    by commas; `group_pattern` is a regular expression, matched at the start of the path below the class folder (or of
    the file's name), whose one group is the patient or wound. Raises `DataError`, with what was seen and the way out,
    where no layout fits, and where something cannot be read.
    """
    try:
        return _recognise(_home_expanded(data), Flags(positive, negative, group_pattern))
    except (OSError, RuntimeError) as error:  # RuntimeError: a link in a loop, before Python 3.13
        raise DataError(f"{data} cannot be read: {error}") from None


def _recognise(data: Path, flags: Flags) -> Source:
    if flags.group_pattern is not None:
        compile_pattern(flags.group_pattern)
    if not data.exists():
        raise DataError(f"{data} does not exist")
    if not data.is_dir():
        _refuse_other_files(data)
        return manifest(data, flags)
    if infection := find_infection(data):
        return part_b(data, infection, flags)
    if pairs := find_pairs(data):
        return segmentation_challenge(data, pairs, flags)
    return folder_per_class(data, flags, _hint(data))


def _home_expanded(data: Path) -> Path:
    """`--data=~/photographs` reaches the command as it is written: shells expand only a word's first letter."""
    return data.expanduser() if data.parts[:1] and data.parts[0].startswith("~") and not data.exists() else data


def _refuse_other_files(data: Path) -> None:
    suffix = data.suffix.lower()
    if suffix in FILE_TYPES and data.is_file():
        return
    if suffix in ARCHIVES and data.is_file():
        archive, folder = shlex.quote(str(data)), shlex.quote(str(data.with_suffix("")))
        command = ARCHIVES[suffix].format(archive, folder)
        raise DataError(f"{data} is a packed archive; unpack it: {command}; then give --data {folder}")
    if suffix in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{data} is a workbook; save it as CSV in UTF-8 and give that as --data")
    raise DataError(f"{data} is neither a folder nor a .csv manifest with the columns path,label,group")


def _hint(data: Path) -> str:
    """What else lies in a folder whose photographs are in no two folders."""
    lists = sorted(path for path in [*data.glob("*.csv"), *data.glob("*/*.csv")] if path.is_file())
    if lists:
        return f". There is a list: --data {shlex.quote(str(lists[0]))}"
    if archives := sorted(path for path in data.iterdir() if path.suffix.lower() in ARCHIVES):
        command = ARCHIVES[archives[0].suffix.lower()].format(*(shlex.quote(str(p)) for p in (archives[0], data)))
        return f". There is a packed archive; unpack it: {command}"
    if any(data.glob("*.yaml")) or any(data.glob("labels/**/*.txt")):
        return ". Boxes as YOLO has them name no class of a photograph; export the data as folders per class"
    if any(data.glob("**/*_annotations.coco.json")):
        return ". Boxes as COCO has them name no class of a photograph; export the data as folders per class"
    return ""
