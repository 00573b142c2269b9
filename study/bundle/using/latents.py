"""Latent points that follow from seed and index alone, so that any image can be made again by itself."""

import numpy as np

MIN_TRUNCATION = 0.1  # below it nearly every draw is rejected


def latent(seed: int, index: int, size: int, truncation: float | None = None) -> np.ndarray:
    """The latent point (size,) float32 of one image, from N(0, I).

    Seed and index are the key of a counter-based generator (Salmon et al. 2011). With `truncation`, values beyond
    +-truncation are drawn again: fewer odd images, less variety (Brock et al. 2019, section 3.1).
    """
    draws = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    point = draws.standard_normal(size, dtype=np.float32)
    while truncation is not None and (beyond := np.abs(point) > truncation).any():
        point[beyond] = draws.standard_normal(beyond.sum(), dtype=np.float32)
    return point


def latents(
    seed: int, indices: range, size: int, truncation: float | None = None, interpolate: int | None = None
) -> np.ndarray:
    """The latent points (len(indices), size) of images.

    With `interpolate` steps, image i lies on the path from point i // steps to the next point, at i % steps of it.
    """
    if interpolate is None:
        return np.stack([latent(seed, index, size, truncation) for index in indices])
    places = [divmod(index, interpolate) for index in indices]
    ends = {i: latent(seed, i, size, truncation) for first, _ in places for i in (first, first + 1)}
    return np.stack([between(ends[first], ends[first + 1], step / interpolate) for first, step in places])


def between(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """The point at t in [0, 1] of the spherical path from `start` to `end` (Shoemake 1985; White 2016, section 2.1).

    Normal latent points lie near a sphere; a straight path would leave it.
    """
    cosine = np.dot(start, end) / (np.linalg.norm(start) * np.linalg.norm(end))
    angle = np.arccos(np.clip(cosine, -1, 1))
    path = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)
    return path.astype(np.float32)
