"""The photographs below a folder, and what else lies there."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_utils.decode import HEIC, HEIC_ADVICE, SUFFIXES, UNREAD
from data_utils.errors import DataError

MASK_FOLDERS = {"mask", "masks", "label", "labels", "annotation", "annotations", "groundtruth", "gt", "segmentation"}
NUMBERED = {"label", "labels", "gt"}  # are of something else where a number follows
MASK_FILE = re.compile(r".*[_-]mask(_\d+)?", re.IGNORECASE)  # without its suffix: photograph_mask_1
OF_DISKS = {"lost+found", "System Volume Information", "$RECYCLE.BIN"}  # at their root; not to be read
SIDES = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "valset": "validation", "validationset": "validation",
    "test": "test", "testing": "test", "testset": "test",
}  # fmt: skip


@dataclass
class Listing:
    """Photographs, sorted; unread photographs and masks by suffix; and the number of other files."""

    images: list[Path] = field(default_factory=list)
    unread: Counter = field(default_factory=Counter)
    masks: int = 0
    others: int = 0


def list_images(folder: Path, root: Path, of_masks: bool = False) -> Listing:
    """All below `folder`; links to folders are not followed, hidden files are passed over, and masks are unless they
    are asked for.

    Raises `DataError` where the folder is a link that leads out of `root`, OSError where one cannot be read.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{str(folder)!r} is a link that leads out of {root}; put the folder itself there: "
            "cp -rL FOLDER COPY makes a copy without links"
        )
    found = Listing()
    for parent, folders, names in os.walk(folder, onerror=_stop):
        found.others += sum(Path(parent, name).is_symlink() for name in folders)
        masks = [name for name in folders if is_of_masks(name) and not name.startswith(".")]
        found.masks += sum(_num_images(Path(parent, name)) for name in masks if not Path(parent, name).is_symlink())
        folders[:] = [name for name in folders if not name.startswith(".") and name not in masks]
        for path in (Path(parent, name) for name in names):
            _sort_in(found, path, of_masks)
    found.images.sort()
    return found


def _num_images(folder: Path) -> int:
    return sum(Path(name).suffix.lower() in SUFFIXES for _, _, names in os.walk(folder) for name in names)


def _sort_in(found: Listing, path: Path, of_masks: bool) -> None:
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix not in SUFFIXES | UNREAD:
        found.others += 1
    elif suffix in UNREAD:
        found.unread[suffix] += 1
    elif MASK_FILE.fullmatch(path.stem) and not of_masks:
        found.masks += 1
    else:
        found.images.append(path)


def _stop(error: OSError) -> None:
    """For `os.walk`, which passes over folders that it cannot read."""
    raise error


def left_out_notes(listings: dict[str, list[Listing]]) -> tuple[str, ...]:
    """What was left out of the listings of each class, with a warning where photographs were."""
    notes = []
    for name, of_class in listings.items():
        if unread := sum((listing.unread for listing in of_class), Counter()):
            total = unread.total() + sum(len(listing.images) for listing in of_class)
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common())
            advice = HEIC_ADVICE if unread.keys() & HEIC else "convert them to JPEG or PNG"
            notes.append(
                f"WARNING: {unread.total()} of {total} photographs of {name!r} are in a format that is not read "
                f"({kinds}) and were left out: {advice}."
            )
    everything = [listing for of_class in listings.values() for listing in of_class]
    if masks := sum(listing.masks for listing in everything):
        notes.append(f"WARNING: {masks} files look like masks (by folder or name) and were left out.")
    if others := sum(listing.others for listing in everything):
        notes.append(f"{others} other files (not images, hidden, or linked folders) were left out.")
    return tuple(notes)


def folders_with_images(folder: Path, root: Path) -> list[Path]:
    """Folders in `folder` that hold photographs, read or not, at any depth, without hidden ones and a disk's own.

    Raises OSError where one cannot be read.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in folders if path.name not in OF_DISKS and _holds_images(path, root)]


def _holds_images(folder: Path, root: Path) -> bool:
    found = list_images(folder, root)
    return bool(found.images or found.unread)


def is_of_masks(name: str) -> bool:
    """Whether a folder is called as those of masks are; GT01 may be a patient, and label_1 a class."""
    return plain(name) in MASK_FOLDERS - (NUMBERED if name[-1:].isdigit() else set())


def plain(name: str) -> str:
    """A folder's name in small letters and without anything else: Test_Set -> testset."""
    return re.sub(r"[^a-z]", "", name.lower())


def side_of(name: str, numbered: bool = True) -> str | None:
    """train, validation or test where a folder is called so, else None.

    Not `numbered`: test01 is none, as it may be a patient; train2017 is one.
    """
    if not numbered and re.sub(r"(19|20)\d\d$", "", name)[-1:].isdigit():
        return None
    return SIDES.get(plain(name))
