"""A prepared file on disk: written whole or not at all, and never read damaged."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_utils.errors import DataError

SCHEMA = pa.schema(
    [
        ("image", pa.binary()),  # PNG, RGB, image_size x image_size
        ("label", pa.int8()),  # 1 = positive
        ("group", pa.string()),  # salted
        ("split", pa.string()),  # train, validation or test
        ("image_id", pa.string()),  # salted
        ("content_hash", pa.string()),  # sha256 of the pixels
    ]
)


def write_table(path: Path, columns: dict, metadata: dict) -> None:
    """Write columns of `SCHEMA` and the metadata (as JSON) atomically."""
    text = json.dumps(metadata, sort_keys=True)
    # Page checksums do not cover the footer, where the metadata lies.
    keys = {"metadata": text, "metadata_sha256": hashlib.sha256(text.encode()).hexdigest()}
    table = pa.table(columns, schema=SCHEMA.with_metadata(keys))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".tmp-{path.name}-", delete=False) as file:
        temporary = Path(file.name)
        try:
            pq.write_table(table, file, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def read_table(path: Path) -> tuple[pa.Table, dict]:
    """The columns and the metadata; raises `DataError`, naming the file, where anything in it is damaged."""
    if not path.is_file():
        raise DataError(f"there is no prepared file {path}")
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        keys = table.schema.metadata
        intact = hashlib.sha256(keys[b"metadata"]).hexdigest().encode() == keys[b"metadata_sha256"]
        if not (intact and table.schema.equals(SCHEMA)):
            raise DataError("its checksum or its columns are wrong")
        return table, json.loads(keys[b"metadata"])
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"the prepared file {path} is damaged ({error}); the command that made it makes it again"
        ) from error
