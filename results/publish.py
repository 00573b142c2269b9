"""Publish a study: one Parquet file a table, to a folder or to an object store.

python results/publish.py STUDY TARGET

TARGET is a folder or an address such as s3://BUCKET/PREFIX, which pandas reads directly
(`pandas.read_parquet("s3://BUCKET/PREFIX/trials.parquet")`). It receives the tables, the leaderboard and a new report
without photographs; `prepared/`, `gans/` and `checkpoints/` are not copied, and the study itself is not changed.
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

from results.leaderboard import exit_code
from results.report import write_report
from results.tables.schema import TABLES
from results.tables.store import TableError, check_study, joined, replace_file
from results.text import printable

UNFINISHED = ".unfinished-"  # begins the name of a file that is being copied; Parquet readers pass over a leading dot


def publish(study: Path, target: str, tables_only: bool = False) -> Iterator[tuple[str, str]]:
    """Write the study's tables and report below `target`, a folder or an address (`s3://`, `gs://`, `abfss://`).

    Yields each file's name and what was done: "copied", or "unchanged" where the target holds it already. A file is
    there whole or not at all: it gets its name only after it was read back equal. Raises TableError for a folder
    that is no study or whose tables are damaged, and for a target that lies in the study or cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        gather(study, Path(folder), tables_only)
        try:
            store, root = FileSystem.from_uri(target.rstrip("/") if "://" in target else str(Path(target).resolve()))
            if store.type_name == "local" and Path(root).resolve().is_relative_to(Path(study).resolve()):
                raise TableError(f"{root} lies in the study and would hide its tables; choose a folder outside {study}")
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                name = path.relative_to(folder).as_posix()
                yield name, copy(path, store, f"{root}/{name}")
        except (OSError, pa.ArrowException) as error:
            reason = f"{target} cannot be written ({error}); is the address right, and may this machine write there?"
            raise TableError(reason) from None


def gather(study: Path, folder: Path, tables_only: bool) -> None:
    """Write to `folder` what is to be published."""
    check_study(study)
    for name in TABLES:
        if table := joined(study, name):
            replace_file(folder / f"{name}.parquet", table)
    if (study / "leaderboard.csv").exists():
        shutil.copyfile(study / "leaderboard.csv", folder / "leaderboard.csv")
    if not tables_only:
        write_report(study, folder / "report")


def copy(path: Path, store: FileSystem, target: str) -> str:
    """Copy a file into the store unless it holds an equal one. Raises TableError where the copy differs."""
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
    parser = argparse.ArgumentParser(description="Publish a study's tables, leaderboard and report.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder, <out>/<study>")
    parser.add_argument("target", metavar="TARGET", help="a folder, or an address such as s3://BUCKET/PREFIX")
    without = "leave the report out, which shows synthetic images"
    parser.add_argument("--tables-only", action="store_true", help=without)
    options = parser.parse_args(arguments)

    def show() -> None:
        for name, done in publish(options.study, options.target, options.tables_only):
            print(f"{done:<10} {printable(name)}", flush=True)

    return exit_code(show)


if __name__ == "__main__":
    sys.exit(main())
