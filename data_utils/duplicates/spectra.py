"""The second key: an image's spectrum, free of brightness and contrast, compared in views cut out of the other image.

A key holds the coefficients of the discrete cosine transform in a band, each times its frequency, at unit length. The
lowest are left out, in which all smooth skin looks alike.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_utils.duplicates.hashing import SYMMETRIES

SIZE = 32  # pixels of the image that is transformed
FREQUENCIES, LOWEST = 10, 1.5  # half waves over the image's side
# Of copies cut at random places to 80-100 % of their side 99.5 % reach this, of pairs of other skin 2 in 1,000.
MIN_CORRELATION = 0.75
CHUNK = 256  # images whose views are compared at once
# Side of the view, its centre (sides lie at -1 and 1), angle in degrees
VIEWS = (
    (1.0, 0.0, 0.0, 0),
    *((0.9, x, y, 0) for x, y in product((-0.1, 0, 0.1), repeat=2)),
    *((0.8, x, y, 0) for x, y in product((-0.2, 0, 0.2), repeat=2)),
    *((side, 0.0, 0.0, angle) for side in (1.0, 0.88) for angle in (-5, 5)),
)


def view_matrices() -> Tensor:
    """The affine maps (len(VIEWS) * 8, 2, 3) from a turned view's coordinates to its image's, for `affine_grid`."""
    return torch.stack([_view(view) @ _symmetry(symmetry) for view in VIEWS for symmetry in SYMMETRIES])[:, :2]


def candidates(
    greys: Tensor, other: np.ndarray, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs (P, 2) of images (i, j) of which a view of i looks like j, and the view's number (P,).

    greys are float32 (N, S, S); images of one number in `other` (N,) are not compared. Each pair comes once, as the
    order and the view that correlate best.
    """
    small = F.interpolate(greys[:, None], size=(SIZE, SIZE), mode="area")[:, 0]
    keys, best = _keys(_spectra(small)).T.contiguous(), []
    for start in range(0, len(greys), CHUNK):
        found = []
        for number, view in enumerate(_views(greys[start : start + CHUNK])):
            correlations = (view @ keys).numpy()
            rows, columns = np.divmod(np.flatnonzero(correlations >= MIN_CORRELATION), len(greys))
            apart = other[rows + start] != other[columns]
            rows, columns = rows[apart], columns[apart]
            pairs = np.stack([rows + start, columns], axis=1)
            found.append((pairs, np.full(len(rows), number), correlations[rows, columns]))
        best.append(_best(found))
        progress(min(start + CHUNK, len(greys)), len(greys))
    return _best(best)[:2]


def _best(found: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Of pairs (P, 2), their views and correlations (P,), each pair once, as it correlates best."""
    pairs, views, correlations = map(np.concatenate, zip(*found, strict=True))
    order = np.lexsort((views, -correlations))
    first = order[np.unique(np.sort(pairs[order], axis=1), axis=0, return_index=True)[1]]
    return pairs[first], views[first], correlations[first]


def _views(greys: Tensor):
    """The keys (n, D) of each view under each symmetry, in the order of `view_matrices`."""
    for view in VIEWS:
        matrix = _view(view)[:2].expand(len(greys), -1, -1)
        grid = F.affine_grid(matrix, (len(greys), 1, SIZE, SIZE), align_corners=False)
        cut = F.grid_sample(greys[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
        spectra, signs = _spectra(cut), (-1.0) ** torch.arange(FREQUENCIES)
        for rows, columns, exchanged in SYMMETRIES:  # a reversed axis changes the sign of every odd half wave
            turned = spectra * (signs[:, None] if rows else 1) * (signs if columns else 1)
            yield _keys(turned.mT if exchanged else turned)


def _spectra(images: Tensor) -> Tensor:
    """Images (N, SIZE, SIZE) -> coefficients (N, FREQUENCIES, FREQUENCIES)."""
    waves = _waves()
    return ((images @ waves.T).mT.contiguous() @ waves.T).mT


def _keys(spectra: Tensor) -> Tensor:
    half_waves = torch.arange(FREQUENCIES)
    frequency = torch.hypot(*torch.meshgrid(half_waves.float(), half_waves.float(), indexing="ij"))
    band = (frequency >= LOWEST) & (frequency < FREQUENCIES)
    return F.normalize((spectra * frequency)[:, band], dim=1)


@cache
def _waves() -> Tensor:
    """The first cosines of the DCT-II as rows (FREQUENCIES, SIZE); their scale cancels in a key."""
    angle = math.pi / SIZE * (torch.arange(SIZE) + 0.5)
    return torch.cos(torch.arange(FREQUENCIES)[:, None] * angle)


def _view(view: tuple[float, float, float, float]) -> Tensor:
    side, x, y, angle = view
    c, s = side * math.cos(math.radians(angle)), side * math.sin(math.radians(angle))
    return torch.tensor([[c, -s, x], [s, c, y], [0.0, 0.0, 1.0]])


def _symmetry(symmetry: tuple[int, int, int]) -> Tensor:
    rows, columns, exchanged = symmetry
    matrix = torch.diag(torch.tensor([-1.0 if columns else 1.0, -1.0 if rows else 1.0, 1.0]))
    return matrix[:, [1, 0, 2]] if exchanged else matrix
