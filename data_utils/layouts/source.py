"""What is known of photographs before they are decoded."""

from dataclasses import dataclass
from pathlib import Path

SHOWN = 10  # names at most in a list that is printed


@dataclass(frozen=True)
class Flags:
    """What the user says of classes and groups; a class may be several of those found, joined by commas."""

    positive: str | None = None
    negative: str | None = None
    group_pattern: str | None = None


@dataclass(frozen=True)
class Record:
    """One photograph; with a mask, one that is still to be cut into patches (its label is None).

    `side` is the side of the split that the data came with: train, validation or test.
    """

    path: Path
    label: int | None
    group: str
    mask: Path | None = None
    side: str | None = None


@dataclass(frozen=True)
class Source:
    """Photographs below `root`, with class names (negative, positive) and remarks for the user."""

    layout: str
    root: Path
    class_names: tuple[str, str]
    records: list[Record]
    notes: tuple[str, ...] = ()


def listed(names) -> str:
    """At most ten names, quoted, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return ", ".join(repr(str(name)) for name in names[:SHOWN]) + more


def sides_note(records: list[Record]) -> tuple[str, ...]:
    """What becomes of the sides that the data came with, if any."""
    seen = {record.side for record in records}
    sides = ", ".join(side for side in ("train", "validation", "test") if side in seen)
    if not sides:
        return ()
    return (
        f"WARNING: The photographs come divided into {sides}: --split given takes these sides as they are, any other "
        "split joins them and divides anew.",
    )
