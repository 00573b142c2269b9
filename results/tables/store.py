"""Tables written atomically and read back checked: a damaged file is named, never silently wrong.

A table of a study is a folder of Parquet files, its parts, each written and replaced as a whole. A published study
(`results/publish.py`) has one file a table instead.
"""

import math
import os
import uuid
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from results.tables.schema import SCHEMA_VERSION, TABLES

# pyarrow by itself would cut 1.5 down to 1 in an integer column without a word.
PYTHON_TYPES = {pa.string(): str, pa.int64(): Integral, pa.float64(): Real, pa.bool_(): bool | np.bool_}


class TableError(ValueError):
    """A row or a table file does not hold what its schema says; the message names the file and the columns."""


class DamagedTable(TableError):
    """A table file does not hold what was written to it."""


def write_rows(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    """Replace the Parquet file at `path` by `rows`: readers see the old file or the new one, nothing between.

    NaN and infinities become null. The folder is made where it is missing.
    Raises TableError for a key that is no column, a column whose key is missing (where the schema demands all), and
    a value that does not fit its column's type.
    """
    path = Path(path)
    for row in rows:
        _check_names(path, set(row), schema)
    arrays = [pa.array([_checked(path, field, row.get(field.name)) for row in rows], field.type) for field in schema]
    replace_file(path, pa.Table.from_arrays(arrays, schema=schema))


def replace_file(path: Path, table: pa.Table) -> None:
    """Write `table` to `path` in one step and onto the disk, with a checksum for each page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides what a killed writer leaves behind from every Parquet reader of the folder.
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
    try:
        with open(temporary, "xb") as file:
            pq.write_table(table, file, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # without this a power cut can undo the rename
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_study(study: Path) -> None:
    """Raises TableError where the folder holds neither a study nor a published one."""
    if not ((Path(study) / "trials").is_dir() or (Path(study) / "trials.parquet").is_file()):
        raise TableError(f"{study}: no study here; the folder of a study holds trials/ or trials.parquet")


def read_table(study: Path, name: str) -> pd.DataFrame:
    """A table of `schema.TABLES`, all its columns; no rows where nothing was written yet. Raises TableError."""
    return joined(study, name).to_pandas()


def joined(study: Path, name: str) -> pa.Table:
    """All parts of a table as one, in the order of their names. Raises TableError."""
    published, schema = Path(study) / f"{name}.parquet", TABLES[name]
    parts = [published] if published.is_file() else sorted((Path(study) / name).glob("*.parquet"))
    return pa.concat_tables([schema.empty_table(), *(read_part(path, schema) for path in parts)])


def read_trials(study: Path) -> pd.DataFrame:
    """One row per ended trial."""
    return read_table(study, "trials")


def read_history(study: Path) -> pd.DataFrame:
    """One row per report."""
    return read_table(study, "history")


def read_part(path: Path, schema: pa.Schema) -> pa.Table:
    """One file of a table. Raises DamagedTable, and TableError for a file of another version of this code."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_version(path, file.schema_arrow)
            table = file.read(use_threads=False)
        table.validate(full=True)
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None):  # of the system; what Arrow says of a file's content has no number
            raise TableError(f"{path} cannot be read ({error.strerror}); try again when it can") from None
        way_out = "the study's command with --resume sets it aside and makes its content again; publish a copy again"
        raise DamagedTable(f"{path} is damaged ({error}); {way_out}") from None
    try:
        _check_names(path, set(table.schema.names), schema)
    except TableError as error:
        raise TableError(f"{error}; {_writer(table)}, or start a new study with another --name") from None
    if not table.schema.equals(schema):
        raise TableError(f"{path}: types or order of the columns differ from results/tables/schema.py")
    return table


def _checked(path: Path, field: pa.Field, value):
    if value is None:
        return None
    is_flag = isinstance(value, bool | np.bool_)  # which Python counts among the integers
    if not isinstance(value, PYTHON_TYPES[field.type]) or is_flag != pa.types.is_boolean(field.type):
        raise TableError(f"{path}: column {field.name} holds {field.type}, not {value!r}")
    return None if isinstance(value, Real) and not math.isfinite(value) else value


def _check_names(path: Path, names: set[str], schema: pa.Schema) -> None:
    unknown = sorted(names - set(schema.names))
    if unknown:
        raise TableError(f"{path}: unknown columns: {', '.join(unknown)}; see results/tables/schema.py")
    missing = sorted(set(schema.names) - names)
    if missing and schema.metadata[b"missing_keys"] == b"error":
        raise TableError(f"{path}: missing columns: {', '.join(missing)}")


def _writer(table: pa.Table) -> str:
    """What to read a file of another version with."""
    commits = table["commit"].drop_null().to_pylist() if "commit" in table.schema.names else []
    return "read it with the code " + (f"of commit {commits[0]}, which wrote it" if commits else "that wrote it")


def _check_version(path: Path, schema: pa.Schema) -> None:
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise TableError(
            f"{path} has schema version {version}, this code reads version {SCHEMA_VERSION}; read it with the code "
            "that wrote it, or start a new study"
        )
