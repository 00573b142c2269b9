"""The same prepared images under the other split protocol, to measure what leakage is worth."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from data_utils.parquet_file import read_table, write_table
from data_utils.prepare import SPLITS, is_written


def resplit(path: Path, protocol: str) -> tuple[Path, str]:
    """Write the images of a prepared file, split by `protocol` ("grouped" or "random"), beside it.

    Returns path and fingerprint of the new file, which follow from the old one's: no photograph is read again. The
    groups are those of the old file, near-duplicates merged. Raises DataError for a damaged file, and where the
    groups are too few or too large to be split.
    """
    table, metadata = read_table(path)
    labels = table["label"].to_numpy().astype(np.int64)
    groups = pd.factorize(table["group"].to_numpy(zero_copy_only=False))[0]  # by their order: their names are salted
    split = SPLITS[protocol](labels, groups, metadata["split_seed"])
    fingerprint = hashlib.sha256(f"{metadata['fingerprint']} {protocol}".encode()).hexdigest()[:16]
    columns = {name: table[name] for name in table.schema.names}
    columns["split"] = pa.array(split.tolist())
    metadata |= {"fingerprint": fingerprint, "split_protocol": protocol}
    new = path.with_name(f"{fingerprint}.parquet")
    if not is_written(new, metadata):
        write_table(new, columns, metadata)
    return new, fingerprint
