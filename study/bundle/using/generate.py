"""Write synthetic images as PNG files or as one Parquet file, with what it takes to make any of them again."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from study.bundle.folder import WEIGHTS, Bundle
from study.bundle.networks import load_generator
from study.bundle.output import fresh_folder
from study.bundle.using.synthetic import BLOCK, Request, synthetic_images
from study.errors import ConfigError

RECORD = "generation.json"
IMAGES = {"png": "images.csv", "parquet": "images.parquet"}
COLUMNS = ("file", "label", "class_name", "seed", "index", "sha256")
ROW_GROUP = 512
# IPTC's term for an image that a trained model made; readers of photographs' metadata look for it.
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
)


def generate(bundle: Bundle, request: Request, out: Path, form: str, engine: str, force: bool) -> Path:
    """Write the images of a request to the folder `out`; returns it. Raises ConfigError.

    `images.csv` (or the columns of `images.parquet`) has a row for each image; `generation.json` holds the rest:
    generator's checksum, options, and whether the command came to its end.
    """
    generator = load_generator(bundle, engine)
    out = fresh_folder(out, RECORD, "generator_sha256", force)
    record = generation_record(bundle, request, form, engine)
    write_record(out, record | {"finished": False})
    stream = synthetic_images(generator, bundle.z_dim, request)
    bar = tqdm(stream, total=request.count, unit=" images", desc="synthetic", mininterval=1, disable=None)
    with WRITERS[form](out, bundle, request) as write:
        for index, label, pixels in bar:
            write(index, label, pixels)
    write_record(out, record | {"finished": True})
    return out


def generation_record(bundle: Bundle, request: Request, form: str, engine: str) -> dict:
    return {
        "synthetic": True,
        "note": "Every image here was made by a generator; none is a photograph of a person.",
        "generator_sha256": bundle.hashes[WEIGHTS["generator"]],
        "trial_id": bundle.about["trial_id"],
        "class_names": list(bundle.class_names),
        "engine": engine,
        "block": BLOCK,
        "format": form,
        **asdict(request),
    }


def write_record(out: Path, record: dict) -> None:
    (out / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@contextmanager
def png_writer(out: Path, bundle: Bundle, request: Request) -> Iterator[Callable]:
    """A folder for each class, a file for each image, and the table `images.csv`."""
    folders = [class_folder(label, name) for label, name in enumerate(bundle.class_names)]
    for folder in folders:
        (out / folder).mkdir()
    with open(out / IMAGES["png"], "w", newline="", encoding="utf-8") as table:
        rows = csv.DictWriter(table, COLUMNS)
        rows.writeheader()

        def write(index: int, label: int, pixels: np.ndarray) -> None:
            row = image_row(bundle, request, index, label, pixels)
            row["file"] = f"{folders[label]}/{index:08d}.png"
            (out / row["file"]).write_bytes(png(pixels, row, bundle))
            rows.writerow(row)

        yield write


@contextmanager
def parquet_writer(out: Path, bundle: Bundle, request: Request) -> Iterator[Callable]:
    """One file whose column `image` holds the PNG files."""
    fields = [(name, pa.int64() if name in ("label", "seed", "index") else pa.string()) for name in COLUMNS[1:]]
    metadata = {"synthetic": "true", "generator_sha256": bundle.hashes[WEIGHTS["generator"]]}
    schema = pa.schema([("image", pa.binary()), *fields], metadata)
    waiting: list[dict] = []
    temporary = out / f".tmp-{IMAGES['parquet']}"
    with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as file:

        def write(index: int, label: int, pixels: np.ndarray) -> None:
            row = image_row(bundle, request, index, label, pixels)
            waiting.append({"image": png(pixels, row, bundle), **row})
            if len(waiting) == ROW_GROUP:
                flush()

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        yield write
        if waiting:
            flush()
    temporary.replace(out / IMAGES["parquet"])


WRITERS = {"png": png_writer, "parquet": parquet_writer}


def image_row(bundle: Bundle, request: Request, index: int, label: int, pixels: np.ndarray) -> dict:
    """The columns that tell of one image; the checksum is of its pixels."""
    return {
        "label": label,
        "class_name": bundle.class_names[label],
        "seed": request.seed,
        "index": index,
        "sha256": hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest(),
    }


def png(pixels: np.ndarray, row: dict, bundle: Bundle) -> bytes:
    """A PNG file that says of itself that it is synthetic."""
    about = PngInfo()
    about.add_text("synthetic", "true")
    about.add_text("Description", "synthetic image made by a generator; not a photograph")
    about.add_text("generator_sha256", bundle.hashes[WEIGHTS["generator"]])
    about.add_itxt("class_name", row["class_name"])
    for name in ("label", "seed", "index"):
        about.add_text(name, str(row[name]))
    about.add_itxt("XML:com.adobe.xmp", XMP)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def class_folder(label: int, name: str) -> str:
    """A folder's name, whatever characters the class's name has."""
    return f"{label}-" + re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]


def class_label(bundle: Bundle, text: str | None) -> int | None:
    """The label of a class's name or number; None for both classes. Raises ConfigError."""
    names = list(bundle.class_names)
    if text is None:
        return None
    if text in names:
        return names.index(text)
    if text in ("0", "1"):
        return int(text)
    raise ConfigError(f"--label {text!r} is no class of this bundle; it has 0 = {names[0]} and 1 = {names[1]}")
