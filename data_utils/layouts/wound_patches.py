"""Cut ulcer and skin patches out of a photograph with a wound mask (Foot Ulcer Segmentation Challenge)."""

import numpy as np
from PIL import Image
from scipy import ndimage

from data_utils.skin_tone import skin_pixels

CLASS_NAMES = ("skin", "ulcer")
MIN_WOUND_PIXELS = 100  # smaller components are specks of the annotation
MARGIN = 1.5  # side of an ulcer patch over the longer side of its wound
MIN_SIDE = 1 / 8  # of the photograph's shorter side
MIN_SKIN = 0.9  # share of a skin patch that must look like skin
SKIN_PATCHES = 2  # at most, from one photograph
LEAST_APART = 16  # values of a mask that mean something; an edge and JPEG leave all values between
STRIDES = 4  # candidate positions for each side of a skin patch


def cut_patches(photograph: Image.Image, mask: Image.Image) -> list[tuple[Image.Image, str]]:
    """Square patches of one RGB photograph, each with its class name, always the same ones.

    An "ulcer" patch is centred on each connected wound of the mask; up to two "skin" patches of the same size hold
    no wound pixel, do not overlap, and are mostly skin.
    """
    wound = _wound_pixels(mask)
    boxes = [_ulcer_box(component, wound.shape) for component in _components(wound)]
    side = int(np.median([box[2] - box[0] for box in boxes])) if boxes else min(wound.shape) // 4
    skin = _skin_boxes(wound, skin_pixels(np.asarray(photograph)), side)
    return [(photograph.crop(box), "ulcer") for box in boxes] + [
        (photograph.crop(box), "skin") for box in skin
    ]


def _wound_pixels(mask: Image.Image) -> np.ndarray:
    """Masks hold 0 and 1, or 0 and 255 with grey at the edges of resized ones, or a value for each kind of tissue."""
    values = np.asarray(mask.convert("L"))
    levels = np.unique(values).astype(int)
    of_tissues = levels.max() < LEAST_APART or np.diff(levels).min() >= LEAST_APART
    return values > (0 if of_tissues else values.max() / 2)


def _components(wound: np.ndarray) -> list[tuple[slice, slice]]:
    labelled, _ = ndimage.label(wound)
    sizes = np.bincount(labelled.ravel())[1:]
    slices = ndimage.find_objects(labelled)
    return [place for place, size in zip(slices, sizes, strict=True) if size >= MIN_WOUND_PIXELS]


def _ulcer_box(component: tuple[slice, slice], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    rows, columns = component
    height, width = rows.stop - rows.start, columns.stop - columns.start
    side = min(round(max(MARGIN * max(height, width), MIN_SIDE * min(shape))), *shape)
    top = min(max((rows.start + rows.stop - side) // 2, 0), shape[0] - side)
    left = min(max((columns.start + columns.stop - side) // 2, 0), shape[1] - side)
    return left, top, left + side, top + side


def _skin_boxes(wound: np.ndarray, skin: np.ndarray, side: int) -> list[tuple[int, int, int, int]]:
    tops = np.arange(0, wound.shape[0] - side + 1, max(side // STRIDES, 1))
    lefts = np.arange(0, wound.shape[1] - side + 1, max(side // STRIDES, 1))
    share = _box_sums(skin, tops, lefts, side) / side**2
    share[_box_sums(wound, tops, lefts, side) > 0] = 0
    chosen: list[tuple[int, int, int, int]] = []
    for place in np.argsort(-share, axis=None, kind="stable"):
        row, column = np.unravel_index(place, share.shape)
        if share[row, column] < MIN_SKIN or len(chosen) == SKIN_PATCHES:
            break
        top, left = int(tops[row]), int(lefts[column])
        if all(abs(left - box[0]) >= side or abs(top - box[1]) >= side for box in chosen):
            chosen.append((left, top, left + side, top + side))
    return chosen


def _box_sums(pixels: np.ndarray, tops: np.ndarray, lefts: np.ndarray, side: int) -> np.ndarray:
    """Number of set pixels in each square, (tops, lefts), from a summed-area table."""
    table = np.pad(pixels.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    top, left, bottom, right = tops[:, None], lefts[None, :], tops[:, None] + side, lefts[None, :] + side
    return table[bottom, right] - table[bottom, left] - table[top, right] + table[top, left]
