"""How many changed copies of photographs are found, and what is taken for copies among the photographs themselves.

python benchmarks/leakage/duplicates.py --data FOLDER [--images 300] [--image-size 128]

Every so many images of FOLDER, all with one class and a group of their own, are joined by a copy of each, changed in
one way. A copy is found if it is paired with its original; "other" are the pairs of different pictures of which the
unchanged originals are no pair. Then all photographs of FOLDER are compared with those of other groups (a group is what
comes before the first underscore of a file's name): the pairs, which are to be looked at, and the seconds that it took.
Without --data the photographs are rendered phantoms, one a lesion.
"""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.leakage.changes import CHANGES, Change
from data_utils.decode import decode, square
from data_utils.duplicates.pairs import find_pairs, signature
from data_utils.phantoms import render_phantoms


def load(data: Path | None, size: int) -> tuple[list[Image.Image], np.ndarray, list[str]]:
    """Square images with their groups (N,) and names."""
    if data is None:
        rendered = render_phantoms(views=1, size=size)
        images = [Image.fromarray(pixels) for pixels, _, _ in rendered]
        return images, np.arange(len(images)), [group for _, _, group in rendered]
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    images = [square(decode(path, data), size) for path in paths]
    names = [path.relative_to(data).as_posix() for path in paths]
    return images, np.unique([path.stem.split("_")[0] for path in paths], return_inverse=True)[1], names


def tried(images: list[Image.Image], change: Change) -> tuple[float, int]:
    """The share of copies that are found, and how many other pairs are."""
    count = len(images)
    signatures = [signature(image) for image in [*images, *map(change, images)]]
    pairs = find_pairs(signatures, np.arange(2 * count), np.zeros(2 * count, dtype=int))
    known = {(i, j) for i, j in pairs.tolist() if j < count}
    pictures = [tuple(sorted((i % count, j % count))) for i, j in pairs.tolist()]
    found = sum(i == j for i, j in pictures)
    return found / count, len(pictures) - found - sum(picture in known for picture in pictures)


def main(arguments: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, "24 small images", data=None, images=300, image_size=128)
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.image_size = 24, 64
    torch.set_num_threads(1)
    images, groups, names = load(options.data, options.image_size)
    chosen = [images[place] for place in np.linspace(0, len(images) - 1, min(options.images, len(images))).astype(int)]
    shares = {name: tried(chosen, change) for name, change in CHANGES.items()}
    signatures = [signature(image) for image in images]
    started = time.perf_counter()
    pairs = find_pairs(signatures, groups, np.zeros(len(images), dtype=int))
    seconds = time.perf_counter() - started
    report(
        [
            *((name, f"{share:.1%}, {other} other", "") for name, (share, other) in shares.items()),
            (f"pairs among {len(images)} originals", f"{len(pairs)}", ""),
            ("seconds for these", f"{seconds:.1f}", ""),
        ],
        vars(options) | {"shares": shares, "pairs": [[names[i], names[j]] for i, j in pairs], "seconds": seconds},
    )


if __name__ == "__main__":
    main()
