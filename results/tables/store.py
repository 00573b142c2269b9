"""Write a table atomically, read it back checked: a damaged file is named, never silently wrong.

A table is a folder of Parquet files, its parts, each written and replaced as a whole; `compaction.py` joins them. A
compacted file lists the parts it holds in its metadata. Of a part that several files hold, readers take the part's own
file first, then the newest compacted file: replaced rows win, and no row counts twice whenever a compaction stopped.
"""

import hashlib
import json
import math
import os
import uuid
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from results.tables.migrations import MIGRATIONS
from results.tables.schema import SCHEMA_VERSION, TABLES

COMPACTED = "compacted-"  # begins a compacted file's name, its number follows
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
    replace_file(path, _to_table(path, rows, schema))


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
    _sync_folder(path.parent)


def read_table(study: Path, name: str) -> pd.DataFrame:
    """A table of `schema.TABLES`, all its columns; no rows where nothing was written yet. Raises TableError."""
    schema = TABLES[name]
    parts = read_parts(Path(study) / name, schema)
    return pa.concat_tables([schema.empty_table(), *(table for table, _ in parts)]).to_pandas()


def read_trials(study: Path) -> pd.DataFrame:
    """One row per ended trial."""
    return read_table(study, "trials")


def read_history(study: Path) -> pd.DataFrame:
    """One row per report."""
    return read_table(study, "history")


def read_parts(folder: Path, schema: pa.Schema) -> list[tuple[pa.Table, dict[str, int]]]:
    """Each file's rows that hold, in order of their parts, and the number of rows by part. Raises TableError."""
    read, known = [], set()
    for path in _newest_first(folder):
        table, parts = _read_file(path, schema)
        if replaced := known & parts.keys():
            kept = np.repeat([name not in replaced for name in parts], list(parts.values()))
            table = table.filter(pa.array(kept, pa.bool_()))
            parts = {name: num_rows for name, num_rows in parts.items() if name not in replaced}
        read.append((table, parts))
        known |= parts.keys()
    return read[::-1]


def read_part(path: Path, schema: pa.Schema) -> pa.Table:
    """One file of a table. Raises DamagedTable, and TableError for a file that another version wrote."""
    return _read_file(path, schema)[0]


def with_parts(table: pa.Table, parts: dict[str, int]) -> pa.Table:
    """The table of a compacted file: `parts` are the number of rows by part, in the rows' order."""
    listed = json.dumps(parts).encode()
    # Page checksums do not cover the footer, where the metadata lies.
    keys = {b"parts": listed, b"parts_sha256": hashlib.sha256(listed).hexdigest().encode()}
    return table.replace_schema_metadata({**table.schema.metadata, **keys})


def next_compacted(folder: Path) -> Path:
    """Where the next compaction of a table writes to. Raises TableError."""
    number = max(map(_compaction_number, _compacted_files(folder)), default=-1) + 1
    return folder / f"{COMPACTED}{number}.parquet"


def _to_table(path: Path, rows: list[dict], schema: pa.Schema) -> pa.Table:
    for row in rows:
        _check_names(path, set(row), schema)
    arrays = [pa.array([_checked(path, field, row.get(field.name)) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)  # without this a power cut can undo the rename
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _newest_first(folder: Path) -> list[Path]:
    compacted = _compacted_files(folder)
    parts = set(folder.glob("*.parquet")) - set(compacted)
    return [*sorted(parts, reverse=True), *sorted(compacted, key=_compaction_number, reverse=True)]


def _compacted_files(folder: Path) -> list[Path]:
    return list(folder.glob(f"{COMPACTED}*.parquet"))


def _compaction_number(path: Path) -> int:
    number = path.stem.removeprefix(COMPACTED)
    if not number.isdecimal():
        raise TableError(f"{path}: its name says that it is compacted, but not as which; move it away")
    return int(number)


def _read_file(path: Path, schema: pa.Schema) -> tuple[pa.Table, dict[str, int]]:
    """The rows, brought to the schema's version, and the number of rows by part."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = _checked_version(path, file.schema_arrow)
            table = file.read(use_threads=False)
        table.validate(full=True)
        parts = _listed_parts(table) if path.name.startswith(COMPACTED) else {path.name: len(table)}
        for number in range(version, SCHEMA_VERSION):
            table = MIGRATIONS[number](table, schema)
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None):  # of the system; what Arrow says of a file's content has no number
            raise TableError(f"{path} cannot be read ({error.strerror}); try again when it can") from None
        raise DamagedTable(f"{path} is damaged ({error}); {_way_out(path)}") from None
    _check_names(path, set(table.schema.names), schema)
    if not table.schema.equals(schema):
        raise TableError(f"{path}: the columns' types or their order differ from results/tables/schema.py")
    return table, parts


def _way_out(path: Path) -> str:
    if path.name.startswith(COMPACTED):
        return "copy it back from a backup, or move it away and go on without its rows"
    return "the study's command with --resume sets it aside and makes it anew"


def _listed_parts(table: pa.Table) -> dict[str, int]:
    listed = table.schema.metadata.get(b"parts", b"")
    if hashlib.sha256(listed).hexdigest().encode() != table.schema.metadata.get(b"parts_sha256"):
        raise ValueError("its list of parts is wrong")
    return json.loads(listed)


def _checked_version(path: Path, schema: pa.Schema) -> int:
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version not in map(str, range(min(MIGRATIONS), SCHEMA_VERSION + 1)):
        raise TableError(f"{path} has schema version {version}; this code reads versions up to {SCHEMA_VERSION}")
    return int(version)
