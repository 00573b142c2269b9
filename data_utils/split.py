"""Train, validation and test in 70:15:15, stratified by label: by group, or at random as in the paper."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from data_utils.errors import DataError

FOLDS = ["train"] * 14 + ["validation"] * 3 + ["test"] * 3
MIN_IMAGES = len(FOLDS)  # of each class: one for each fold


def grouped_split(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Name the side of each image, shape (N,), so that no group lies on two sides.

    The result depends on the order of the images. Raises `DataError` where a side would lack a class.
    """
    if len(np.unique(groups)) < len(FOLDS):
        raise DataError(
            f"{len(np.unique(groups))} group(s) are too few for a grouped split, which needs {len(FOLDS)}; "
            "check which part of the file name is the group (--group-pattern REGEX), or use --split random"
        )
    folds = StratifiedGroupKFold(len(FOLDS), shuffle=True, random_state=seed).split(labels, labels, groups)
    split = _name_sides(folds, len(labels))
    _check_sides(labels, split)
    return split


def random_split(labels: np.ndarray, seed: int) -> np.ndarray:
    """Name the side of each image, shape (N,), ignoring groups: the paper's protocol, which leaks."""
    folds = StratifiedKFold(len(FOLDS), shuffle=True, random_state=seed).split(labels, labels)
    return _name_sides(folds, len(labels))


def _name_sides(folds, num_images: int) -> np.ndarray:
    split = np.empty(num_images, dtype=object)
    for name, (_, members) in zip(FOLDS, folds, strict=True):
        split[members] = name
    return split


def check_class_sizes(labels: np.ndarray, least: int = MIN_IMAGES) -> None:
    """Raise `DataError` where a class has fewer than `least` images."""
    negatives, positives = np.bincount(labels, minlength=2)
    if min(negatives, positives) < least:
        raise DataError(
            f"{negatives} negative and {positives} positive images; at least {least} of each class are needed"
        )


def _check_sides(labels: np.ndarray, split: np.ndarray) -> None:
    for name in dict.fromkeys(FOLDS):
        if len(np.unique(labels[split == name])) < 2:
            raise DataError(
                f"the {name} side of a grouped split would lack a class: too few groups, or groups that are too "
                "large; check which part of the file name is the group (--group-pattern REGEX), or use --split random"
            )
