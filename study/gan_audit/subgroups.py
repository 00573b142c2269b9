"""Subgroups of images, estimated from the skin or read from a user's file, as rows of ATTRIBUTES."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from data_utils.dataset import Dataset
from data_utils.skin_tone import skin_tone, tone_name
from study.errors import ConfigError

COLUMNS = ["image_id", "attribute"]


def real_skin_tones(study: str, dataset: Dataset) -> list[dict]:
    """A row for each real image; `value` is the skin's ITA in degrees, null where `attribute` is "unknown"."""
    known = zip(dataset.split, dataset.image_ids, _tones(dataset.images), strict=True)
    named = {"study": study, "source": "ITA estimate", "kind": "real", "gan_key": None}
    return [{**named, "side": side, "image_id": image_id, **tone} for side, image_id, tone in known]


def synthetic_skin_tones(study: str, gan_key: str, images: Tensor) -> list[dict]:
    """A row for each image uint8 (N, 3, S, S) of a GAN."""
    named = {"study": study, "source": "ITA estimate", "kind": "synthetic", "gan_key": gan_key}
    return [{**named, "side": None, "image_id": None, **tone} for tone in _tones(images)]


def _tones(images: Tensor) -> Iterable[dict]:
    for pixels in np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1)):
        angle = skin_tone(pixels)
        yield {"attribute": tone_name(angle), "value": angle}


def read_subgroups(path: Path, dataset: Dataset, study: str) -> list[dict]:
    """Rows of a user's CSV file with the columns `image_id,attribute`; an image may have several attributes.

    Raises ConfigError for a file that cannot be read, lacks a column, has an empty cell, names a pair twice, or names
    images that are not in the data set.
    """
    pairs = _read_pairs(path)
    sides = dict(zip(dataset.image_ids, dataset.split, strict=True))
    if unknown := [image_id for image_id, _ in pairs if image_id not in sides]:
        raise ConfigError(
            f"{path}: {len(unknown)} of {len(pairs)} image ids are not in the data set, such as "
            f"{', '.join(unknown[:3])}; `run_sweep.py --data PATH --image-ids CSV` writes the id of each file"
        )
    named = {"study": study, "source": "file", "kind": "real", "gan_key": None, "value": None}
    return [
        {**named, "side": sides[image_id], "image_id": image_id, "attribute": attribute}
        for image_id, attribute in pairs
    ]


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    pairs: dict[tuple[str, str], int] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte-order mark in front
            reader = csv.DictReader(file, strict=True)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise ConfigError(f"{path} lacks the column {' and '.join(missing)}; its first line must name both")
            for row in reader:
                pair = tuple((row[name] or "").strip() for name in COLUMNS)
                if not all(pair):
                    raise ConfigError(f"{path}, line {reader.line_num}: {COLUMNS[pair.index('')]} is empty")
                if pair in pairs:
                    raise ConfigError(f"{path}, line {reader.line_num}: repeats line {pairs[pair]}; remove one")
                pairs[pair] = reader.line_num
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV file: {error}") from None
    if not pairs:
        raise ConfigError(f"{path} has no line below its heading; give one line for each image and attribute")
    return list(pairs)
