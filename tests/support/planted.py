"""Photographs whose every name and every byte of metadata gives a patient away, and the search for what got out."""

import gzip
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FOLDER, PATIENT, DEVICE, COMMENT, DATE = "Nakamuraward", "Erikssondottir", "SN40917733", "Quillfeather", "1957:03:14"
SECRETS = (FOLDER, PATIENT, DEVICE, COMMENT, DATE, DATE.replace(":", "-"), DATE.replace(":", ""))
PER_CLASS = 40


def plant(root: Path) -> Path:
    """A folder per class of 40 photographs of 32 px, JPEG and PNG; returns the folder, which is named after a ward."""
    folder = root / f"{FOLDER} {DATE.replace(':', '-')}"
    for number in range(2 * PER_CLASS):
        of_class = folder / ("infected" if number % 2 else "clean")
        of_class.mkdir(parents=True, exist_ok=True)
        name = of_class / f"{PATIENT}{number:03d}_{DATE.replace(':', '')}"
        if number % 3:
            photograph(number).save(name.with_suffix(".jpg"), exif=exif(), comment=COMMENT.encode(), quality=90)
        else:
            photograph(number).save(name.with_suffix(".png"), pnginfo=text_chunks(), exif=exif())
    return folder


def photograph(seed: int) -> Image.Image:
    """A smooth random pattern: no two look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0132], tags[0x013B], tags[0xA431] = f"{DATE} 10:11:12", PATIENT, DEVICE  # time, artist, serial number
    return tags


def text_chunks() -> PngInfo:
    chunks = PngInfo()
    chunks.add_text("Comment", COMMENT)
    chunks.add_text("Author", PATIENT, zip=True)
    return chunks


def leaks(folder: Path) -> list[str]:
    """`file: secret` for each secret in the name or content of anything below `folder`, compressed or not."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        haystack = [str(path.relative_to(folder)).encode(), *readings(path)]
        found += [f"{path}: {secret}" for secret in SECRETS if any(holds(text, secret) for text in haystack)]
    return found


def holds(text: bytes, secret: str) -> bool:
    return any(secret.encode(encoding) in text for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


def readings(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what its format hides of them."""
    content = path.read_bytes()
    yield content
    if content[:4] == b"PAR1":
        file = pq.ParquetFile(path)
        yield repr((file.read().to_pylist(), file.schema_arrow.metadata, file.metadata)).encode()
        yield from (png for name in file.schema_arrow.names if name == "image" for png in pngs(file))
    elif content[:6] == b"SQLite":
        with sqlite3.connect(path) as storage:
            yield "\n".join(storage.iterdump()).encode()
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        yield text_of(content)
    elif content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)


def pngs(file: pq.ParquetFile) -> Iterator[bytes]:
    for png in file.read(columns=["image"])["image"].to_pylist():
        yield text_of(png)


def text_of(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as image:
        return repr((image.info, dict(image.getexif()))).encode()
