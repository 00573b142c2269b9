"""A folder per class, with the sides of a split or masks above, beside or below the classes, as exports have them."""

from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import DataError
from data_utils.layouts.class_names import Classes, choose_classes, likely_positive
from data_utils.layouts.groups import name_groups
from data_utils.layouts.image_files import (
    folders_with_images,
    is_of_masks,
    left_out_notes,
    list_images,
    side_of,
)
from data_utils.layouts.source import Flags, Record, Source, listed, sides_note

MAX_SETS = 3  # of photographs, each with its classes; more that are alike are patients
MAX_DEPTH = 3  # folders below the given one in which classes are looked for


@dataclass(frozen=True)
class _Place:
    """Folders of classes, each with the class's name, and what was passed over on the way to them."""

    folder: Path
    classes: list[tuple[Path, str]]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return sorted({name for _, name in self.classes})


def folder_per_class(data: Path, flags: Flags, hint: str) -> Source:
    """The photographs of two folders; `hint` says what else was seen in `data`, for where there are not two."""
    place = _look(data, data)
    wanted = {flags.positive, flags.negative} & set(place.names)
    if not wanted and len(likely_positive(place.names)) != 1 and (nested := list(_nested(place.folder, data))):
        kinds = {tuple(sorted(path.name for path in folders_with_images(folder, data))) for folder in nested}
        if len(nested) > MAX_SETS and len(kinds) == 1:
            (names,), one = kinds, nested[0].name
            raise DataError(
                f"{place.folder} holds {len(nested)} folders, {one!r} for one, each with the classes {listed(names)}. "
                f"If they are patients, put the classes above them, such as {names[0]}/{one}/, or list the photographs "
                "in a CSV manifest with the columns path,label,group"
            )
        raise DataError(
            f"{place.folder} holds several folders of photographs ({listed(place.names)}), and classes below them. "
            "Give the one that is meant: " + " or ".join(f"--data {str(found)!r}" for found in nested[:3])
        )
    classes = choose_classes(place.names, place.folder, flags, hint)
    folders = [(folder, name) for folder, name in place.classes if name in classes.labels]
    records, notes = class_records(folders, data, classes, flags.group_pattern)
    notes = (*place.notes, *classes.left_out(place.names), *notes)
    return Source("a folder per class", data, classes.names, records, notes)


def class_records(
    folders: list[tuple[Path, str]], root: Path, classes: Classes, group_pattern: str | None
) -> tuple[list[Record], tuple[str, ...]]:
    """The photographs below folders that each hold one class, in the order of their labels and paths."""
    listings = [(folder, name, list_images(folder, root)) for folder, name in folders]
    found = sorted(
        (classes.labels[name], path, folder) for folder, name, listing in listings for path in listing.images
    )
    sides = [_side_on_path(path, folder, root) for _, path, folder in found]
    below = [_without_sides(path.relative_to(folder)) for _, path, folder in found]
    groups, notes = name_groups(below, group_pattern)
    by_class: dict[str, list] = {}
    for _, name, listing in listings:
        by_class.setdefault(name, []).append(listing)
    records = [
        Record(path, label, group, side=side)
        for (label, path, _), group, side in zip(found, groups, sides, strict=True)
    ]
    return records, notes + left_out_notes(by_class) + sides_note(records)


def _look(folder: Path, root: Path) -> _Place:
    """The class folders in `folder`, or in the only folder in it, or in those of a split's sides."""
    children = folders_with_images(folder, root)
    masks = [child for child in children if is_of_masks(child.name)]
    sides = [child for child in children if side_of(child.name)]
    others = [child for child in children if child not in masks and child not in sides]
    notes = (f"WARNING: the folders {listed(m.name for m in masks)} hold masks and were left out.",) if masks else ()
    if len(others) == 1 and not sides and (below := _look(others[0], root)).classes:
        return _Place(below.folder, below.classes, (*notes, *below.notes))
    classes = [(child, child.name) for child in others]
    for side in sides:
        inner = [(child, child.name) for child in folders_with_images(side, root) if not side_of(child.name)]
        inner = [(child, name) for child, name in inner if not is_of_masks(name)]
        if others and not {name for _, name in inner} <= {name for _, name in classes}:
            inner = []
        if not inner:
            notes += (f"WARNING: the folder {side.name!r} names no class for its photographs and was left out.",)
        classes += inner
    return _Place(folder, classes, notes)


def _nested(folder: Path, root: Path, depth: int = 0):
    """Folders below `folder` whose two folders are classes by their names."""
    for child in folders_with_images(folder, root):
        names = [path.name for path in folders_with_images(child, root)]
        if len(names) == 2 and len(likely_positive(names)) == 1:
            yield child
        elif depth < MAX_DEPTH:
            yield from _nested(child, root, depth + 1)


def _side_on_path(path: Path, folder: Path, root: Path) -> str | None:
    """By the folders above that of the class, or below it, where a patient may be called test01."""
    above = map(side_of, folder.relative_to(root).parts)
    below = (side_of(part, numbered=False) for part in path.relative_to(folder).parts[:-1])
    return next(filter(None, (*above, *below)), None)


def _without_sides(path: Path) -> Path:
    return Path(*[part for part in path.parts[:-1] if not side_of(part, numbered=False)], path.name)
