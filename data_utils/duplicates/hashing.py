"""The first key: perceptual hashes under the eight symmetries, whose matches must agree in a thumbnail."""

from collections.abc import Iterator

import imagehash
import numpy as np
from PIL import Image

# Chosen by looking at pairs of 2,130 patches of real feet: nearly all copies, re-encoded or cut a little
# differently, lie within these bounds; skin that merely resembles other skin lies beyond at least one.
MAX_BITS = 12  # of 64 that may differ between two perceptual hashes
# Of phantoms and patches under quarter turns no pair of 8 bits or more was a copy; turning alone changes no bit.
MAX_BITS_TURNED = 6
MAX_DIFFERENCE = 16.0  # of 255 levels, root mean square over the thumbnails
MIN_CORRELATION = 0.85  # of the thumbnails' brightness
THUMBNAIL = 16  # pixels
# The eight symmetries of a square: rows reversed, columns reversed, then rows and columns exchanged
SYMMETRIES = tuple((rows, columns, exchanged) for exchanged in (0, 1) for rows in (0, 1) for columns in (0, 1))
CHUNK = 256  # rows compared at once


def perceptual_hashes(image: Image.Image) -> np.ndarray:
    """64-bit pHash of the image under each of `SYMMETRIES`: uint64, shape (8,)."""
    small = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))  # the size at which pHash works
    turned = [Image.fromarray(turn(small[None], symmetry)[0]) for symmetry in SYMMETRIES]
    bits = np.stack([imagehash.phash(image).hash.ravel() for image in turned])
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def thumbnail(image: Image.Image) -> np.ndarray:
    """uint8 RGB, shape (16, 16, 3)."""
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def hash_pairs(hashes: np.ndarray, thumbnails: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pairs (i, j), i < j, whose hashes (N, 8) and thumbnails (N, 16, 16, 3) agree: shape (P, 2).

    Images of one number in `other` (N,) are not compared. Close hashes alone are not enough: smooth skin has them by
    accident, so the pixels must agree as well.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for rows, columns, symmetry in _close_hashes(hashes, other):
        same = _agree(turn(thumbnails[rows], symmetry).astype(np.float32), thumbnails[columns].astype(np.float32))
        found.append(np.stack([rows[same], columns[same]], axis=1))
    return np.concatenate(found)


def _close_hashes(hashes: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, tuple]]:
    for start in range(0, len(hashes), CHUNK):
        stop = start + CHUNK
        later = np.arange(start, len(hashes))
        compared = (other[start:stop, None] != other[None, start:]) & (later[:CHUNK, None] < later)
        for number, symmetry in enumerate(SYMMETRIES):
            bits = np.bitwise_count(hashes[start:stop, number, None] ^ hashes[None, start:, 0])
            rows, columns = np.nonzero((bits <= (MAX_BITS_TURNED if symmetry[2] else MAX_BITS)) & compared)
            yield rows + start, columns + start, symmetry


def _agree(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether thumbnails (P, 16, 16, 3) show the same, by difference and by correlation: bool, (P,)."""
    difference = np.sqrt(((a - b) ** 2).mean(axis=(1, 2, 3)))
    a, b = (gray - gray.mean(axis=(1, 2), keepdims=True) for gray in (a.mean(3), b.mean(3)))
    covariance, variances = (a * b).sum((1, 2)), (a**2).sum((1, 2)) * (b**2).sum((1, 2))
    return (difference <= MAX_DIFFERENCE) & (covariance >= MIN_CORRELATION * np.sqrt(variances))


def turn(images: np.ndarray, symmetry: tuple[int, int, int]) -> np.ndarray:
    """Apply one of `SYMMETRIES` to (N, S, S, ...)."""
    rows, columns, exchanged = symmetry
    turned = images[:, :: -1 if rows else 1, :: -1 if columns else 1]
    return turned.swapaxes(1, 2) if exchanged else turned
