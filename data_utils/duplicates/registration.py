"""Do two images show the same? One is laid onto the other, then fine detail must agree nearly everywhere.

The alignment is that of Lucas and Kanade (1981): Gauss-Newton steps for an affine map, with a gain and an offset of
brightness. What is compared are details of two to ten pixels of 64, place by place, so that neither smooth skin nor one
strong edge decides.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Pixels a side, steps, and the least correlation of details that goes on to the next line. Of 2,130 patches of real
# feet all pairs of at least 0.8 showed the same wound; the first that did not had 0.79.
LEVELS = ((16, 1, 0.35), (32, 2, 0.45), (64, 3, 0.8))
LEAST_COLOUR = 0.5  # correlation of each channel: patterns of a few spots may agree by chance in brightness alone
FINEST, COARSEST = 1 / 64, 1 / 16  # deviations of the two blurs whose difference is compared, in sides
CELLS = 4  # a side; half of the cells must agree, too
MARGIN = 1 / 16  # of the side, which is not compared: a turned copy has filled corners
MAX_STEP = 0.08  # of an affine coefficient; the sides lie at -1 and 1
CHUNK = 256


def show_the_same(
    greys: Tensor,
    colours: Tensor,
    pairs: np.ndarray,
    matrices: Tensor,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Whether images i and j of `pairs` (P, 2) show the same: bool (P,).

    greys are float32 (N, 64, 64), colours (N, 3, 16, 16). matrices (P, 2, 3) map coordinates of j to those of i, to
    within some percent.
    """
    same = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), CHUNK):
        chosen = np.arange(start, min(start + CHUNK, len(pairs)))
        warps = matrices[chosen]
        for size, steps, least in LEVELS:
            if not len(chosen):
                break
            ours, theirs = (_shrink(greys[side], size) for side in torch.from_numpy(pairs[chosen]).T)
            warps = _align(ours, theirs, warps, steps)
            good = detail_correlation(ours, theirs, warps).numpy() >= least
            chosen, warps = chosen[good], warps[good]
        if len(chosen):
            ours, theirs = (colours[side] for side in torch.from_numpy(pairs[chosen]).T)
            same[chosen] = (_colour_correlation(ours, theirs, warps) >= LEAST_COLOUR).numpy()
        progress(min(start + CHUNK, len(pairs)), len(pairs))
    return same


def detail_correlation(ours: Tensor, theirs: Tensor, warps: Tensor) -> Tensor:
    """Correlation of details (P,) of `ours`, warped, and `theirs`, (P, S, S): overall or of the median cell, the lower.

    Parts of `theirs` that lie outside of `ours`, and a margin, are not compared.
    """
    size = theirs.shape[-1]
    grid = _grid(warps, size)
    details = (_details(image) for image in (_sample(ours[:, None], grid)[:, 0], theirs))
    weight = (grid.abs() <= 1).all(-1).float()
    edge = round(MARGIN * size)
    inner = torch.zeros(size, size)
    inner[edge : size - edge, edge : size - edge] = 1
    parts = [*details, weight * inner]
    cells = [part.unflatten(1, (CELLS, -1)).unflatten(3, (CELLS, -1)) for part in parts]
    median = _correlation(*cells, dims=(2, 4)).flatten(1).median(1).values
    return torch.minimum(_correlation(*parts, dims=(1, 2)), median)


def _colour_correlation(ours: Tensor, theirs: Tensor, warps: Tensor) -> Tensor:
    """The lowest of the channels' correlations (P,) of `ours`, warped, and `theirs`, (P, 3, S, S)."""
    grid = _grid(warps, theirs.shape[-1])
    weight = (grid.abs() <= 1).all(-1).float()[:, None]
    return _correlation(_sample(ours, grid), theirs, weight, dims=(2, 3)).min(1).values


def _align(ours: Tensor, theirs: Tensor, warps: Tensor, steps: int) -> Tensor:
    """Warps (P, 2, 3) that lay `ours` onto `theirs`, (P, S, S), by least squares."""
    size = ours.shape[-1]
    along_rows, along_columns = torch.gradient(ours, dim=(1, 2))
    layers = torch.stack([along_columns * size / 2, along_rows * size / 2, ours], dim=1)
    x, y = _coordinates(size).view(size, size, 3).unbind(-1)[:2]
    target = theirs.flatten(1)[..., None]
    for _ in range(steps):
        grid = _grid(warps, size)
        dx, dy, image = _sample(layers, grid).unbind(1)
        columns = [dx * x, dx * y, dx, dy * x, dy * y, dy, image, torch.ones_like(image)]
        columns = torch.stack(columns, dim=-1).flatten(1, 2)  # P x S S x 8
        weighted = columns * (grid.abs() <= 1).all(-1).flatten(1)[..., None]
        normal = weighted.mT @ columns
        normal += torch.diag_embed(1e-4 * normal.diagonal(dim1=1, dim2=2) + 1e-6)  # plain images have no gradient
        solution = torch.linalg.solve(normal, weighted.mT @ target)[..., 0]
        gain = solution[:, 6:7].abs().clamp(min=0.1)
        warps = warps + (solution[:, :6] / gain).clamp(-MAX_STEP, MAX_STEP).view(-1, 2, 3)
    return warps


def _correlation(a: Tensor, b: Tensor, weight: Tensor, dims: tuple[int, int]) -> Tensor:
    total = weight.sum(dims, keepdim=True).clamp(min=1)
    a, b = (values - (values * weight).sum(dims, keepdim=True) / total for values in (a, b))
    covariance, *variances = ((left * right * weight).sum(dims) for left, right in ((a, b), (a, a), (b, b)))
    return covariance / (variances[0] * variances[1]).sqrt().clamp(min=1e-6)


def _shrink(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images[:, None], size=(size, size), mode="area")[:, 0]


def _grid(warps: Tensor, size: int) -> Tensor:
    return (_coordinates(size) @ warps.mT).unflatten(1, (size, size))


def _sample(layers: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(layers, grid, padding_mode="border", align_corners=False)


def _details(images: Tensor) -> Tensor:
    fine, coarse = (_blur(images.shape[-1], deviation) for deviation in (FINEST, COARSEST))
    return _both_axes(images, fine) - _both_axes(images, coarse)


def _both_axes(images: Tensor, blur: Tensor) -> Tensor:
    return ((images @ blur.T).mT.contiguous() @ blur.T).mT  # a matrix on the right is one large product


@cache
def _coordinates(size: int) -> Tensor:
    """x, y, 1 of each pixel: (size * size, 3)."""
    places = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)


@cache
def _blur(size: int, deviation: float) -> Tensor:
    """A Gaussian blur along one axis as a matrix (size, size); `deviation` in sides."""
    places = (torch.arange(size) + 0.5) / size
    return torch.softmax(-((places[:, None] - places) ** 2) / (2 * deviation**2), dim=1)
