"""Damaged files of a study's tables set aside, so that what they held is made again when the study goes on."""

from pathlib import Path

from results.tables.schema import TABLES
from results.tables.store import COMPACTED, DamagedTable, read_part

# The table that says whether a piece is done, by the table of a piece: both are made again, or neither.
SAID_BY = {
    "history": "trials", "predictions": "trials", "neighbours": "generator_metrics", "attributes": "generator_metrics",
}  # fmt: skip


def set_aside_damaged(study: Path) -> list[str]:
    """Rename each damaged part `NAME` to `_NAME.damaged`, which readers pass over; returns a line for each.

    With a trial's damaged history or predictions goes its row, and the trial runs again. For a study at rest. Raises
    DamagedTable for a compacted file, which holds too many trials to be made again unasked, and for one that
    another version wrote TableError.
    """
    lines = []
    for name, schema in TABLES.items():
        for path in sorted((study / name).glob("*.parquet")):
            try:
                read_part(path, schema)
            except DamagedTable:
                if path.name.startswith(COMPACTED):
                    raise
                lines.append(_set_aside(study, name, path))
    return lines


def _set_aside(study: Path, name: str, path: Path) -> str:
    done = study / SAID_BY.get(name, name) / path.name.removeprefix("ita-")
    for damaged in dict.fromkeys([done, path]):  # stopped between the two, the next call ends what this one began
        if damaged.exists():
            damaged.rename(damaged.with_name(f"_{damaged.name}.damaged"))
    return f"{path} is damaged and was set aside as _{path.name}.damaged; what it held is made again"
