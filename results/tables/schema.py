"""The Arrow schemas of a study's tables: the column names are the contract with every reader.

python results/tables/schema.py > docs/columns.md

Each file carries `SCHEMA_VERSION` in its metadata; one of another version, or with other columns, is refused.
"""

import pyarrow as pa

from results.tables import columns

SCHEMA_VERSION = 1
TYPES = {"text": pa.string(), "int": pa.int64(), "real": pa.float64(), "flag": pa.bool_()}


def _schema(table: str, missing_keys: str = "error") -> pa.Schema:
    """The schema of a table of columns.py; `missing_keys`: "error" where a row must name every column, else "null"."""
    fields = [pa.field(name, TYPES[dtype]) for name, dtype, _ in _lines(table)]
    return pa.schema(fields, {"schema_version": str(SCHEMA_VERSION), "missing_keys": missing_keys})


def _lines(table: str) -> list[list[str]]:
    """Name, type and description of each column."""
    return [line.split(maxsplit=2) for line in getattr(columns, table).splitlines() if line]


# Folder of a study -> schema; every file in the folder is a part of one table.
TABLES = {name: _schema(name.upper(), "null" if name == "history" else "error") for name in columns.ONE_ROW}
TRIALS, HISTORY, PREDICTIONS, GENERATOR_METRICS, NEIGHBOURS, ATTRIBUTES, ESTIMATES, COMPARISONS = TABLES.values()
PUBLISHED = _schema("PUBLISHED")

# Values of `phase` in a confirmation: all arms, of which validation chooses one, and the chosen one with other seeds.
CONFIRMED = ["confirm", "judge"]
BENCHMARK = "benchmark"  # every system over seeds, at an equal cost
EVIDENCE = [*CONFIRMED, BENCHMARK]
FINALIST = "finalist"  # repeats the classifier of one of the search's best trials, `confirms`
REPEATED = [*EVIDENCE, FINALIST]  # what is no trial of the search
# The column `verdict` of GENERATOR_METRICS: what the audit found, or that it found nothing.
COPIES, COLLAPSED, HONEST = "copies training images", "collapsed", "no copying, collapse or wrong labels found"
SWAPPED, ONE_CLASS, IGNORED = "swaps the labels", "draws both labels from one class", "labels do not show"
FINDINGS = (COPIES, COLLAPSED, SWAPPED, ONE_CLASS, IGNORED)  # in the order in which a verdict lists them


def describe() -> str:
    """docs/columns.md: every column of every table."""
    parts = [
        "# Columns of a study's tables",
        f"Schema version {SCHEMA_VERSION}, printed by `python results/tables/schema.py`. Rates, shares and "
        "probabilities lie in [0, 1]; any column may be null.",
    ]
    for table in TABLES:
        rows = [f"| `{name}` | {dtype} | {description} |" for name, dtype, description in _lines(table.upper())]
        heading = f"## {table}\n\nOne row per {columns.ONE_ROW[table]}.\n"
        parts.append("\n".join([heading, "| column | type | what it holds |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(describe(), end="")
