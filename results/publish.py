"""Copy what a study found to an object store, from where pandas reads it by address.

python results/publish.py STUDY s3://BUCKET/PREFIX

Below the address lie one Parquet file a table (`pandas.read_parquet("s3://BUCKET/PREFIX/trials.parquet")`), the
leaderboard and the report, which is made anew without photographs. Nothing of `prepared/`, `gans/` and `checkpoints/`
is copied.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from results.leaderboard import printable
from results.report import write_report
from results.tables.schema import TABLES
from results.tables.store import TableError, read_parts, replace_file

UNFINISHED = ".unfinished-"  # begins the name of a file that is being copied; Parquet readers pass over a leading dot


def publish(study: Path, address: str, tables_only: bool = False) -> Iterator[tuple[str, str]]:
    """Copy the study's finished files below `address` (`s3://`, `gs://`, `abfss://`, `file://`), one after the other.

    Yields each file's name and what was done: "copied", or "unchanged" where the store holds it already. A file is
    there whole or not at all: it gets its name only after it was read back equal. Raises TableError for a folder
    that is no study or whose tables are damaged, and for a store that cannot be reached or written.
    """
    with tempfile.TemporaryDirectory() as folder:
        gather(study, Path(folder), tables_only)
        try:
            store, root = FileSystem.from_uri(address.rstrip("/"))
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                name = path.relative_to(folder).as_posix()
                yield name, copy(path, store, f"{root}/{name}")
        except (OSError, pa.ArrowException) as error:
            reason = f"{address} cannot be written ({error}); is the address right, and may this machine write there?"
            raise TableError(reason) from None


def gather(study: Path, folder: Path, tables_only: bool) -> None:
    """Lay in `folder` what is to be published."""
    if not (study / "trials").is_dir():
        raise TableError(f"{study}: no study here; a study's folder holds trials/")
    for name, schema in TABLES.items():
        if parts := read_parts(study / name, schema):
            replace_file(folder / f"{name}.parquet", pa.concat_tables([table for table, _ in parts]))
    if (study / "leaderboard.csv").exists():
        shutil.copyfile(study / "leaderboard.csv", folder / "leaderboard.csv")
    if not tables_only:
        write_report(study, folder / "report")


def copy(path: Path, store: FileSystem, target: str) -> str:
    """Copy a file into the store, unless it holds an equal one; TableError where it reads back otherwise."""
    checksum = hashlib.sha256(path.read_bytes()).digest()
    if stored_checksum(store, target) == checksum:
        return "unchanged"
    folder, _, name = target.rpartition("/")
    store.create_dir(folder, recursive=True)
    unfinished = f"{folder}/{UNFINISHED}{name}"
    with store.open_output_stream(unfinished) as stream:
        stream.write(path.read_bytes())
    if stored_checksum(store, unfinished) != checksum:
        raise TableError(f"{unfinished} does not hold what was written to it; publish again")
    store.move(unfinished, target)
    return "copied"


def stored_checksum(store: FileSystem, target: str) -> bytes | None:
    """SHA-256 of a file of the store, or None where it is not there."""
    if store.get_file_info(target).type != FileType.File:
        return None
    with store.open_input_stream(target) as stream:
        return hashlib.sha256(stream.read()).digest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Copy a study's tables, leaderboard and report to an object store.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder, <out>/<study>")
    parser.add_argument("address", metavar="ADDRESS", help="s3://BUCKET/PREFIX, or another that pyarrow knows")
    without = "leave the report out, whose page and figures show synthetic images"
    parser.add_argument("--tables-only", action="store_true", help=without)
    options = parser.parse_args(arguments)
    try:
        for name, done in publish(options.study, options.address, options.tables_only):
            print(f"{done:<10} {printable(name)}", flush=True)
    except TableError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
