"""Photographs with wound masks: Foot Ulcer Segmentation Challenge, AZH wound segmentation, DFUC 2022."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from data_utils.errors import DataError
from data_utils.layouts.class_names import choose_classes
from data_utils.layouts.groups import groups_by_pattern
from data_utils.layouts.image_files import left_out_notes, list_images, side_of
from data_utils.layouts.source import Flags, Record, Source, listed, sides_note
from data_utils.layouts.wound_patches import CLASS_NAMES

MASKS = ("labels", "masks")
Pair = tuple[Path, Path, str | None]  # folder of photographs, folder of masks, side of the split


def find_pairs(data: Path) -> list[Pair]:
    """Folders of photographs beside folders of their masks: images and labels, or X_images and X_masks."""
    pairs = []
    folders = [data, *sorted(path for path in data.iterdir() if side_of(path.name) and path.is_dir())]
    for folder in folders:
        for images in sorted(folder.glob("*images")):
            start = images.name.removesuffix("images")
            side = side_of(folder.name) or side_of(start.split("_")[-2] if "_" in start else start)
            pairs += [(images, masks, side) for kind in MASKS if (masks := folder / f"{start}{kind}").is_dir()]
    return [pair for pair in pairs if _holds_no_folders(pair[0])]


def _holds_no_folders(images: Path) -> bool:
    """Class folders in `images` are another layout."""
    return images.is_dir() and not any(path.is_dir() for path in images.iterdir() if not path.name.startswith("."))


def refuse_no_masks(data: Path, pairs: list[Pair]) -> None:
    """Raise `DataError` where a list or YOLO's boxes lie beside the photographs, and no masks."""
    for images, masks, _ in pairs:
        if list_images(masks, data).images:
            continue
        if lists := sorted(masks.glob("*.csv")):
            raise DataError(
                f"{masks} holds no masks, but a list. Move it into {images.parent}, with paths that count from there "
                f"({images.name}/...), and give --data {shlex.quote(str(images.parent / lists[0].name))}"
            )
        if texts := list(masks.glob("*.txt")):
            raise DataError(
                f"{masks} holds boxes as YOLO has them ({texts[0].name}): they say where something lies, and no class "
                f"of the photographs in {images}. Export the data as folders per class (Roboflow calls that Folder "
                "Structure), or list the photographs in a CSV manifest with the columns path,label,group"
            )


def segmentation_challenge(data: Path, pairs: list[Pair], flags: Flags) -> Source:
    """Patches are cut around wounds and from skin. Without a pattern each photograph is its own group."""
    refuse_no_masks(data, pairs)
    found = [match for pair in pairs for match in _matched(*pair, data)]
    paths = [path.relative_to(data) for path, _, _ in found]
    groups = list(map(str, paths))
    if flags.group_pattern:
        groups = groups_by_pattern([Path(path.name) for path in paths], flags.group_pattern)
    records = [
        Record(path, None, group, mask, side) for (path, mask, side), group in zip(found, groups, strict=True)
    ]
    classes = choose_classes(list(CLASS_NAMES), data, flags)
    listings = {"photographs": [list_images(images, data) for images, _, _ in pairs]}
    notes = (*_notes(data, pairs, flags), *left_out_notes(listings), *sides_note(records))
    return Source("Foot Ulcer Segmentation Challenge, images and masks", data, classes.names, records, notes)


def _matched(image_folder: Path, mask_folder: Path, side: str | None, root: Path) -> Iterator[tuple]:
    images = list_images(image_folder, root).images
    masks = {path.stem: path for path in list_images(mask_folder, root, of_masks=True).images}
    if unmatched := sorted({path.stem for path in images} ^ masks.keys()):
        raise DataError(
            f"{image_folder} and {mask_folder} must hold the same names; only in one of them: {listed(unmatched)}"
        )
    return ((path, masks[path.stem], side) for path in images)


def _notes(data: Path, pairs: list[Pair], flags: Flags) -> Iterator[str]:
    yield "Square patches are cut around each wound, and from skin of the same photograph."
    if not flags.group_pattern:
        yield (
            "WARNING: each photograph counts as its own group. Some show the same patient, whom their names do not "
            "tell; where names do, say so: --group-pattern REGEX."
        )
    with_masks = {images.parent for images, _, _ in pairs}
    for folder in sorted(path for path in data.iterdir() if side_of(path.name) and path.is_dir()):
        if folder not in with_masks:
            yield f"The folder {folder.name} has no public masks and was left out."
