"""Pairs of near-duplicates in a set of images, and the groups that they join."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_utils.duplicates.hashing import hash_pairs, perceptual_hashes, thumbnail
from data_utils.duplicates.registration import show_the_same
from data_utils.duplicates.spectra import candidates, view_matrices

GREY = 64  # pixels
Progress = Callable[[str, int, int], None]  # what is counted, how many are done, and of how many


class Signature(NamedTuple):
    """What is kept of an image, or of N of them, to find its copies: 5 KB."""

    hashes: np.ndarray  # uint64 (8,)
    thumbnail: np.ndarray  # uint8 (16, 16, 3)
    grey: np.ndarray  # uint8 (64, 64)


def signature(image: Image.Image) -> Signature:
    """The signature of a square RGB image."""
    grey = np.asarray(image.convert("L").resize((GREY, GREY), Image.Resampling.BICUBIC))
    return Signature(perceptual_hashes(image), thumbnail(image), grey)


def unseen(what: str, done: int, total: int) -> None:
    """The progress of what nobody watches."""


def find_pairs(
    signatures: list[Signature], groups: np.ndarray, labels: np.ndarray, progress: Progress = unseen
) -> np.ndarray:
    """Pairs (i, j), i < j, of near-duplicates of different group or label: shape (P, 2).

    groups and labels (N,) are integers. A pair is found by close hashes and equal thumbnails, or by a view of one image
    that looks like the other and, laid onto it, agrees in its details.
    """
    found = Signature(*map(np.stack, zip(*signatures, strict=True)))
    other = np.unique(np.stack([groups, labels]), axis=1, return_inverse=True)[1]
    greys = torch.from_numpy(found.grey).float()
    pairs, views = candidates(greys, other, partial(progress, "compared"))
    colours = torch.from_numpy(found.thumbnail).permute(0, 3, 1, 2).float()
    same = show_the_same(greys, colours, pairs, view_matrices()[views], partial(progress, "pairs"))
    hashed = hash_pairs(found.hashes, found.thumbnail, other)
    return np.unique(np.concatenate([hashed, np.sort(pairs[same], axis=1)]), axis=0)


def merge_groups(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Join groups 0..G-1, shape (N,), that a pair of images connects, directly or over others: new integers, (N,)."""
    num_groups = groups.max() + 1
    edges = groups[pairs]
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(num_groups, num_groups))
    return connected_components(graph, directed=False)[1][groups]


def num_leaked_test(split: np.ndarray, groups: np.ndarray) -> int:
    """How many test images have their (merged) group on the training side too; split and groups are (N,)."""
    return int(np.isin(groups[split == "test"], groups[split == "train"]).sum())
