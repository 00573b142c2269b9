"""How long a large study's tables take to read, from the study and as published.

python benchmarks/tables.py [--trials 10000] [--reports 50]

Prints a table and, as the last line, the same as JSON. One core: start it with `taskset -c 0` or the like.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from results.publish import publish
from results.tables.schema import TABLES
from results.tables.store import read_history, read_trials, replace_file

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "read_trials": read_trials,
    "read_history": read_history,
    "pandas trials": lambda folder: pd.read_parquet(_path(folder, "trials")),
    "pandas history": lambda folder: pd.read_parquet(_path(folder, "history")),
}


def _path(folder: Path, name: str) -> Path:
    published = folder / f"{name}.parquet"
    return published if published.exists() else folder / name


def write_study(study: Path, num_trials: int, num_reports: int) -> None:
    """One file a trial in trials/ (one row) and history/ (`num_reports` rows), all columns filled."""
    rng = np.random.default_rng(0)
    for name, num_rows in (("trials", 1), ("history", num_reports)):
        (study / name).mkdir(parents=True)
        for number in range(num_trials):
            columns = [_column(field, num_rows, number, rng) for field in TABLES[name]]
            table = pa.Table.from_arrays(columns, schema=TABLES[name])
            replace_file(study / name / f"search-{number:05}.parquet", table)


def _column(field: pa.Field, num_rows: int, number: int, rng: np.random.Generator) -> pa.Array:
    if field.type == pa.string():
        return pa.array([f"{field.name}-{number:05}"] * num_rows)
    values = rng.random(num_rows) * 1000
    return pa.array(values.astype(field.type.to_pandas_dtype()))


def measure(folder: Path, num_rows: dict[str, int]) -> dict[str, float]:
    """Seconds of each of `READERS`, which must find `num_rows` of the table their name ends with."""
    seconds = {}
    for name, read in READERS.items():
        started = time.perf_counter()
        found = len(read(folder))
        seconds[name] = time.perf_counter() - started
        assert found == num_rows[name.split()[-1].removeprefix("read_")], name
    return {**seconds, "all": sum(seconds.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study, published = Path(folder) / "study", Path(folder) / "published"
        write_study(study, options.trials, options.reports)
        num_rows = {"trials": options.trials, "history": options.trials * options.reports}
        before = measure(study, num_rows)
        started = time.perf_counter()
        list(publish(study, str(published), tables_only=True))
        publishing = time.perf_counter() - started
        after = measure(published, num_rows)
    print(f"{options.trials} trials, {options.reports} reports each; published in {publishing:.1f} s\n")
    print(f"{'seconds':<16}{'one file a trial':>18}{'published':>12}")
    for name in before:
        print(f"{name:<16}{before[name]:>18.2f}{after[name]:>12.2f}")
    print(json.dumps({**vars(options), "publishing": publishing, "before": before, "after": after}))


if __name__ == "__main__":
    main()
