"""Which patient or wound a photograph shows, by its path below the folder of its class."""

import re
from collections import Counter
from pathlib import PurePath

from data_utils.errors import DataError

GROUP_PATTERN = r"([^_]+)_"  # the text before the first underscore
# What cameras and phones call every photograph, also by its date: 20210304_101112.jpg
CAMERA_NAME = re.compile(
    r"(img|dsc[nf]?|pxl|mvimg|dcim|image|photo|picture)[ -]?\d*|(19|20)\d\d-?(0\d|1[0-2])-?([0-2]\d|3[01])",
    re.IGNORECASE,
)
MAX_UNPARSED = 0.01  # share of photographs without a group
# A guess is judged where there are photographs enough to be split.
MIN_JUDGED = 40
MIN_GUESSED_GROUPS = 20
MAX_GUESSED_SHARE = 0.15  # of the photographs in one group, also by copies: a side of the split
MIN_FOLDERS = 3  # that may be patients; two may be feet, years or cameras
ROBOFLOW = re.compile(r"_[a-z]+\.rf\.", re.IGNORECASE)  # NAME_jpg.rf.CODE.jpg, one of several copies of NAME.jpg
OWN_GROUP, OWN_GROUP_OF_COPIES = r"'(.+)\.'", r"'(.+)_[a-zA-Z]+\.rf\.'"
OF_FOLDER = "'(?:.*/(?=[^/]*/))?([^/]+)'"  # the folder that holds a photograph; one in none is its own
ALONE = (
    "WARNING: no file name tells a patient before an underscore, so each name counts as a group of its own, equal "
    "names as one. If several images show one patient or wound, name it: --group-pattern REGEX."
)


def name_groups(below: list[PurePath], pattern: str | None) -> tuple[list[str], tuple[str, ...]]:
    """The group of each photograph, and remarks on how it was found.

    By `pattern`, or guessed: the folder below the class folder, or the text before a name's first underscore. Raises
    `DataError` for a wrong pattern, and for a guess that would put a large part of the photographs into one group.
    """
    if pattern is not None:
        return groups_by_pattern(below, pattern), ()
    if _lie_in_folders(below):
        groups = [path.parts[0] if len(path.parts) > 1 else _group_in_name(path.name) or str(path) for path in below]
        _judge(groups, "the folder of a photograph below its class folder", below)
        folders = {path.parts[0] for path in below if len(path.parts) > 1}
        notes = (f"The {len(folders)} folders below the classes are the groups (patients or wounds).",)
        if flat := [path.name for path in below if len(path.parts) == 1]:
            notes += (
                f"WARNING: {len(flat)} photographs lie in no folder, {flat[0]!r} for one; the text before the first "
                "underscore of the name is their group, without one the whole name.",
            )
        return groups, notes
    by_name = [_group_in_name(path.name) for path in below]
    if any(by_name):
        groups = _completed(by_name, below, GROUP_PATTERN)
        _judge(groups, "the text before the first underscore of a file's name", below)
        if (num := len(set(groups))) < len(groups):
            said = "texts before the first underscore of the file names are the groups"
            return groups, (f"The {num} {said} (patients or wounds).",)
    else:
        _judge_cameras(below)
        groups = list(map(str, below))
    _judge_folders(below)
    return groups, (ALONE,)


def way_out(below: list[PurePath]) -> str:
    """How to name the groups, or that there are none; the copies that Roboflow made of a photograph stay together."""
    own = OWN_GROUP_OF_COPIES if any(ROBOFLOW.search(path.name) for path in below) else OWN_GROUP
    return (
        "Say which part of the path below the class folder is the patient or wound: --group-pattern REGEX, with one "
        f"group in parentheses. Where no two photographs show one patient, --group-pattern {own} makes each name a "
        "group"
    )


def groups_by_pattern(below: list[PurePath], pattern: str) -> list[str]:
    """The pattern's group in each path."""
    compiled = compile_pattern(pattern)
    return _completed([_match(compiled, path) for path in below], below, pattern)


def _completed(found: list[str | None], below: list[PurePath], pattern: str) -> list[str]:
    """Groups, with the few photographs that have none as their own."""
    unparsed = [str(path) for path, group in zip(below, found, strict=True) if not group]
    if len(unparsed) > MAX_UNPARSED * len(below):
        raise DataError(
            f"{len(unparsed)} of {len(below)} file names do not match the group pattern {pattern!r} (or are a "
            f"camera's), {unparsed[0]!r} for one. {way_out(below)}"
        )
    return [group or str(path) for group, path in zip(found, below, strict=True)]


def compile_pattern(pattern: str) -> re.Pattern:
    """Raises `DataError` for what is not a regular expression with one group."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-pattern {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups != 1:
        raise DataError(f"--group-pattern {pattern!r} must have exactly one group in parentheses")
    return compiled


def _match(pattern: re.Pattern, path: PurePath) -> str | None:
    """The group at the start of the path, or of the file's name where the path does not match.

    A pattern for names, such as `([^_]+)_`, does not mean the folders as well: 2020/p1 and 2021/p1 are one patient.
    """
    whole = pattern.match(path.as_posix())
    if whole and whole[1] and ("/" not in whole[1] or "/" in pattern.pattern):
        return whole[1]
    name = pattern.match(path.name)
    return name[1] if name else None


def _group_in_name(name: str) -> str | None:
    match = re.match(GROUP_PATTERN, name)
    return match[1] if match and not CAMERA_NAME.fullmatch(match[1]) else None


def _lie_in_folders(below: list[PurePath]) -> bool:
    """Whether most photographs lie in folders below their class, and in several."""
    folders = [path.parts[0] for path in below if len(path.parts) > 1]
    return len(folders) > len(below) / 2 and len(set(folders)) >= MIN_FOLDERS


def _judge_cameras(below: list[PurePath]) -> None:
    """Raise `DataError` where most names are a camera's: nothing tells the patient, and nobody chose these names."""
    names = [path.name for path in below if "_" in path.name]
    if len(below) >= MIN_JUDGED and len(names) > len(below) / 2:
        raise DataError(
            f"the groups cannot be guessed: {len(names)} of {len(below)} file names are a camera's, {names[0]!r} for "
            f"one, and tell no patient. {way_out(below)}"
        )


def _judge_folders(below: list[PurePath]) -> None:
    """Raise `DataError` where folders may tell the patient, but not those next below the classes, and no name does."""
    folders = sorted({path.parent for path in below if len(path.parts) > 1})
    if len(folders) >= MIN_FOLDERS:
        raise DataError(
            f"the groups cannot be guessed: no file name tells a patient, and some photographs lie in {len(folders)} "
            f"folders, {str(folders[0])!r} for one. {way_out(below)}; --group-pattern {OF_FOLDER} makes "
            "each folder that holds photographs one"
        )


def _judge(groups: list[str], what: str, below: list[PurePath]) -> None:
    """Raise `DataError` where a guess cannot be right."""
    if len(groups) < MIN_JUDGED:
        return
    sizes = Counter(groups)
    largest, size = sizes.most_common(1)[0]
    if size > MAX_GUESSED_SHARE * len(groups):
        seen = f"{largest!r} would be one patient with {size} of {len(groups)} photographs"
    elif len(sizes) < MIN_GUESSED_GROUPS:
        seen = f"{len(sizes)} patients would have {len(groups)} photographs"
    else:
        return
    raise DataError(f"the groups cannot be guessed: if {what} named the patient, {seen}. {way_out(below)}")
