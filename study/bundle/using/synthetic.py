"""Synthetic images of a bundle as a stream: each follows from seed, index and label alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from study.bundle.networks import Generator
from study.bundle.using.latents import MIN_TRUNCATION, latents
from study.errors import ConfigError

BLOCK = 32  # images that are made together
MAX_COUNT = 1_000_000
MAX_SEED = 2**63 - 1
CLASSES = (0, 1)


@dataclass(frozen=True)
class Request:
    """Which images are asked for: `count` of them from index `start`. `label` None: both classes take turns."""

    count: int
    seed: int = 0
    start: int = 0
    label: int | None = None
    truncation: float | None = None
    interpolate: int | None = None

    def __post_init__(self):
        if not 1 <= self.count <= MAX_COUNT:
            raise ConfigError(
                f"--count {self.count} is not within 1 to {MAX_COUNT:,}; make more in several commands, with --start"
            )
        for name in ("seed", "start"):
            if not 0 <= getattr(self, name) <= MAX_SEED - MAX_COUNT:
                raise ConfigError(f"--{name} {getattr(self, name)} is not within 0 to {MAX_SEED - MAX_COUNT}")
        if self.truncation is not None and not MIN_TRUNCATION <= self.truncation <= 10:
            raise ConfigError(f"--truncation {self.truncation:g} is not within {MIN_TRUNCATION} to 10")
        if self.interpolate is not None and not 2 <= self.interpolate <= 1000:
            raise ConfigError(f"--interpolate {self.interpolate} is not within 2 to 1000 steps")

    def label_of(self, index: int) -> int:
        return index % 2 if self.label is None else self.label


def synthetic_images(generator: Generator, z_dim: int, request: Request) -> Iterator[tuple[int, int, np.ndarray]]:
    """Index, label and pixels uint8 (S, S, 3) of each image, in constant memory.

    Images are made in whole blocks that start at a multiple of 32, wherever the request starts: a network's rounding
    may depend on the number of images it is given, so an image made alone is made in the block that it always has.
    """
    end = request.start + request.count
    for first in range(request.start // BLOCK * BLOCK, end, BLOCK):
        indices = range(first, first + BLOCK)
        labels = np.array([request.label_of(index) for index in indices], dtype=np.int64)
        z = latents(request.seed, indices, z_dim, request.truncation, request.interpolate)
        images = generator(z, labels).transpose(0, 2, 3, 1)
        for index, label, pixels in zip(indices, labels.tolist(), images, strict=True):
            if request.start <= index < end:
                yield index, label, pixels
