"""DFU Part B (Goyal et al. 2020): Infection/Aug-Negative and Infection/Aug-Positive, somewhere below the folder."""

import os
from pathlib import Path

from data_utils.errors import DataError
from data_utils.layouts.class_folders import class_records
from data_utils.layouts.class_names import choose_classes
from data_utils.layouts.groups import GROUP_PATTERN
from data_utils.layouts.source import Flags, Source, listed

CLASS_FOLDERS = ["Aug-Negative", "Aug-Positive"]


def find_infection(data: Path) -> Path | None:
    """The folder Infection of DFU Part B; raises `DataError` where there are several."""
    found = [
        Path(parent)
        for parent, folders, _ in os.walk(data)
        if Path(parent).resolve().name == "Infection" and set(CLASS_FOLDERS) <= set(folders)
    ]
    if len(found) > 1:
        raise DataError(f"{data} holds several Infection folders; give one of them as --data: {listed(sorted(found))}")
    return found[0] if found else None


def part_b(data: Path, infection: Path, flags: Flags) -> Source:
    """The infection task; names begin with the patient and an underscore."""
    classes = choose_classes(CLASS_FOLDERS, infection, flags)
    folders = [(infection / name, name) for name in CLASS_FOLDERS]
    records, notes = class_records(folders, infection, classes, flags.group_pattern or GROUP_PATTERN)
    if any((folder / "Ischaemia").is_dir() for folder in (infection.parent, data)):
        notes += ("The folder Ischaemia is another task and was left out.",)
    notes = ("Aug-Positive holds infected wounds, Aug-Negative wounds without infection.", *notes)
    return Source("DFU Part B, Infection", data, classes.names, records, notes)
