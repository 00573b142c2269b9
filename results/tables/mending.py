"""Sets damaged table files of a study aside, so that a resumed study makes their content again."""

from pathlib import Path

from results.tables.schema import TABLES
from results.tables.store import DamagedTable, read_part

# Table -> the table whose row says that it is complete: the files of both are set aside together.
SAID_BY = {
    "history": "trials", "predictions": "trials", "neighbours": "generator_metrics", "attributes": "generator_metrics",
}  # fmt: skip


def set_aside_damaged(study: Path) -> list[str]:
    """Rename each damaged part `NAME` to `_NAME.damaged`, which readers pass over; returns a line for each.

    A trial whose history or predictions are damaged loses its row too, and runs again. No other command may use the
    study meanwhile. Raises TableError for a file of another schema version.
    """
    lines = []
    for name, schema in TABLES.items():
        for path in sorted((study / name).glob("*.parquet")):
            try:
                read_part(path, schema)
            except DamagedTable:
                lines.append(_set_aside(study, name, path))
    return lines


def _set_aside(study: Path, name: str, path: Path) -> str:
    done = study / SAID_BY.get(name, name) / path.name.removeprefix("ita-")
    for damaged in dict.fromkeys([done, path]):  # the damaged file last: a call that is stopped is repeated
        if damaged.exists():
            damaged.rename(damaged.with_name(f"_{damaged.name}.damaged"))
    return f"{path} is damaged and was set aside as _{path.name}.damaged; its content is made again"
