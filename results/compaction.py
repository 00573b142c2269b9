"""Join the many small files of a study's tables into one file a table, which is read many times faster.

python results/compaction.py STUDY

For a study at rest: a reader that is at work while parts are removed ends with an error. Which rows hold while both
the parts and the compacted file are there is decided in `tables.py`.
"""

import argparse
import sys
from pathlib import Path

import pyarrow as pa

from results.leaderboard import printable
from results.tables.mending import SAID_BY
from results.tables.schema import TABLES
from results.tables.store import TableError, next_compacted, read_parts, replace_file, with_parts


def compact(study: Path, name: str) -> int:
    """Write a table's rows to one file `compacted-<n>.parquet`, then remove the files they came from.

    Returns the number of files joined, 0 where there are fewer than two. Stopped at any point, no row is lost or
    counts twice for `tables.read_table`; other readers may see rows twice until the next compaction. A row that is
    written again meanwhile or later wins over its compacted one. Raises TableError for a damaged file; all stay.
    """
    folder, schema = Path(study) / name, TABLES[name]
    states = {path: _state(path) for path in folder.glob("*.parquet")}
    if len(states) < 2:
        return 0
    read = read_parts(folder, schema)
    rows = pa.concat_tables([table for table, _ in read]).combine_chunks()
    parts = {part: num_rows for _, parts in read for part, num_rows in parts.items()}
    replace_file(next_compacted(folder), with_parts(rows, parts))
    for path, state in states.items():
        if _state(path) == state:  # else it was replaced after it was read
            path.unlink()
    return len(states)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Join the small files of a study's tables.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the folder of a study that is not running")
    study = parser.parse_args(arguments).study
    try:
        if not (study / "trials").is_dir():
            raise TableError(f"{study}: no study here; a study's folder holds trials/")
        # A row says that its trial is done, so it goes last: stopped before, --resume can make a damaged piece again.
        for name in sorted(TABLES, key=lambda name: name in SAID_BY.values()):
            print(f"{name:<18} {compact(study, name):>6} files joined")
    except TableError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
