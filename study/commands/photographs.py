"""The photographs of a command line: their layout, the prepared file, and the list of image ids."""

import csv
import os
import tempfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import pyarrow.compute as pc

from data_utils.layouts import recognise
from data_utils.prepare import prepare
from data_utils.prepared import Prepared
from models.feature_extractor import build_feature_extractor
from results.tables.schema import PREDICTIONS
from results.tables.store import TableError, read_part
from study.errors import ConfigError
from study.gan.quality import INCEPTION_FILE
from study.progress.display import Display
from study.search.external import image_ids
from study.storage.atomic import write_atomically


def names(options: Namespace) -> dict[str, str | None]:
    """What the user says about classes and groups."""
    return {name: getattr(options, name) for name in ("positive", "negative", "group_pattern")}


def recognise_photographs(options: Namespace):
    """The layout and records of `--data`; no file is decoded. Raises DataError."""
    return recognise(options.data, **names(options))


def prepare_data(options: Namespace, image_size: int, folder: Path) -> Prepared:
    """The prepared file of `--data`, and beside it the file of `--inception-weights`."""
    said = names(options) | {"copies": options.copies}
    given = [f"--{name.replace('_', '-')}" for name, value in said.items() if value is not None]
    if given and options.data is None:
        raise ConfigError(f"{given[0]} has no use without --data: the sample data have their classes and groups")
    with Display().counting() as progress:
        prepared = prepare(
            options.data,
            folder,
            image_size=image_size,
            split_protocol=options.split,
            split_seed=options.split_seed,
            skip_bad=options.skip_bad,
            progress=progress,
            **said,
        )
    if options.inception_weights:
        build_feature_extractor("inception", options.inception_weights)  # raises for a wrong file
        write_atomically(folder / INCEPTION_FILE, options.inception_weights.read_bytes())
    return prepared


def check_ids(study: Path, prepared: Path) -> None:
    """ConfigError where the study's predictions have other image ids than the prepared file, and so another salt."""
    for path in sorted((study / "predictions").glob("*.parquet"))[:1]:
        with suppress(TableError):  # a damaged file is set aside later
            tested = read_part(path, PREDICTIONS).filter(pc.field("side") == "test")["image_id"].to_pylist()
            if not set(tested) <= image_ids(prepared):
                raise ConfigError(
                    f"{prepared.parent} was made again since {study.name} began, so that its images have other ids: "
                    "put the old folder back, or at least its file salt, delete the files beside it, and give the "
                    "command again; or start another study with --name"
                )


def holds_ids(path: Path, image_ids: set[str]) -> bool:
    """Whether the CSV file has just these ids in its column image_id."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            return {row.get("image_id") for row in csv.DictReader(file)} == image_ids
    except (OSError, csv.Error):
        return False


def write_image_ids(path: Path, prepared: Prepared) -> None:
    """Write file and salted id of each image, readable by the owner alone; ConfigError if it cannot be written.

    A list of the same ids stays as it is, for a column `attribute` may have come to it; another file is not replaced.
    """
    if path.exists():
        if not holds_ids(path, {image_id for _, image_id in prepared.files}):
            raise ConfigError(f"--image-ids {path} exists and is no list of these photographs; choose another file")
        path.chmod(0o600)
        print(f"image ids    {path} is there already and stays as it is; keep it private", flush=True)
        return
    try:
        private = {"opener": lambda name, flags: os.open(name, flags, 0o600)}
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # an existing file would keep its mode: replace it
            new = Path(folder, path.name)
            # A file's name need not be UTF-8.
            with open(new, "w", newline="", encoding="utf-8", errors="surrogateescape", **private) as file:
                csv.writer(file).writerows([("file", "image_id"), *prepared.files])
            new.replace(path)
    except OSError as error:
        raise ConfigError(f"--image-ids {path} cannot be written ({error.strerror}); choose another file") from None
    print(f"image ids    {path}; it names your files: keep it private", flush=True)
