"""What a section of the report is made of, apart from figures; each part knows its kind for the template."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

MISSING = "-"
# What fills a gap. The page names no folder: folders may name people.
CONFIRM, AUDIT = "python study/confirm.py STUDY", "python study/audit.py STUDY"
RESUME = "python study/run_sweep.py --resume"


@dataclass(frozen=True)
class Note:
    """A paragraph; `command` fills what is missing."""

    text: str
    command: str | None = None
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Table:
    """`columns`: (header, key, format) of what the page shows; the CSV file holds the whole frame."""

    name: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[tuple[str, str, str], ...]
    folded: bool = False
    kind: ClassVar[str] = "table"

    @property
    def headers(self) -> list[tuple[str, bool]]:
        """(header, is it a column of numbers)."""
        return [(header, spec != "s") for header, _, spec in self.columns]

    @property
    def rows(self) -> list[list[tuple[str, bool]]]:
        """(cell, is it a number) of each row."""
        specs = [(key, spec) for _, key, spec in self.columns]
        return [[(cell(row[key], spec), spec != "s") for key, spec in specs] for row in self.frame.to_dict("records")]


@dataclass(frozen=True)
class Picture:
    """A PNG file's bytes; `pixels` is its width as it is stored."""

    png: bytes
    alt: str
    caption: str
    pixels: int
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    reading: str  # one plain line: how to read it
    parts: list


def with_classifier(columns: tuple, frame: pd.DataFrame) -> tuple:
    """The columns of a table, with the classifier behind the first where the rows are of several."""
    if frame["classifier"].nunique() < 2:
        return columns
    return (columns[0], ("classifier", "classifier", "s"), *columns[1:])


def spread(values: pd.Series, digits: int = 1) -> str:
    """`120.4 ± 7.1`; the mean alone of one seed."""
    values = values.dropna()
    if values.empty:
        return MISSING
    return f"{values.mean():.{digits}f}" + (f" ± {values.std():.{digits}f}" if len(values) > 1 else "")


def gain(rows: pd.DataFrame) -> str:
    """The difference of the first of COMPARISONS' rows, and its interval in a line of its own."""
    if rows.empty:
        return MISSING
    row = rows.iloc[0]
    if pd.isna(row.ci_low):
        return f"{row.difference:+.3f}"
    return f"{row.difference:+.3f}\n({row.ci_low:+.3f} to {row.ci_high:+.3f})"


def cell(value, spec: str) -> str:
    """A value as text, "-" where it is missing."""
    return MISSING if pd.isna(value) else format(value, spec)
