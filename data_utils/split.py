"""Train, validation and test in 70:15:15, stratified by label: by group, at random as in the paper, or as given."""

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from data_utils.errors import DataError

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
FOLDS = ["train"] * 14 + ["validation"] * 3 + ["test"] * 3
MIN_IMAGES = len(FOLDS)  # of each class: one for each fold
MIN_GROUPS = 2 * len(FOLDS)  # below it folds at random often give a side one group of a class
ATTEMPTS = 50
WAY_OUT = "--split grouped divides all photographs anew"


def grouped_split(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Name the side of each image, shape (N,), so that no group lies on two sides.

    The result depends on the order of the images. Raises `DataError` where no split was found whose sides all hold
    both classes.
    """
    if len(np.unique(groups)) >= MIN_GROUPS:
        folds = StratifiedGroupKFold(len(FOLDS), shuffle=True, random_state=seed).split(labels, labels, groups)
        split = _nearest_sides(folds, labels, seed)
        if not _lacking(labels, split, SHARES):
            return split
    return _searched_split(labels, groups, seed, SHARES)


def random_split(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Name the side of each image, shape (N,), ignoring groups: the paper's protocol, which leaks."""
    folds = StratifiedKFold(len(FOLDS), shuffle=True, random_state=seed).split(labels, labels)
    return _name_sides(folds, len(labels))


def given_split(labels: np.ndarray, groups: np.ndarray, seed: int, sides: np.ndarray) -> np.ndarray:
    """The sides (N,) that the data came with, "" being none; validation is a part of train where it is missing.

    Raises `DataError` where train or test is missing, an image has no side, or a side lacks a class.
    """
    seen = set(sides)
    if not seen & set(SHARES):
        raise DataError("--split given: the data come without sides; name folders train, validation and test")
    if missing := {"train", "test"} - seen:
        raise DataError(f"--split given: no photographs in {' or '.join(sorted(missing))}; {WAY_OUT}")
    if "" in seen:
        raise DataError(f"--split given: {(sides == '').sum()} photographs are on no side; {WAY_OUT}")
    split = sides.copy()
    if "validation" not in seen:
        train = np.flatnonzero(sides == "train")
        shares = {"train": SHARES["train"], "validation": SHARES["validation"]}
        split[train] = _searched_split(labels[train], groups[train], seed, shares)
    if lacking := _lacking(labels, split, SHARES):
        raise DataError(f"--split given: the {lacking[0]} side lacks a class; {WAY_OUT}")
    return split


def check_class_sizes(labels: np.ndarray, least: int = MIN_IMAGES, notes: tuple[str, ...] = ()) -> None:
    """Raise `DataError` where a class has fewer than `least` images; then `notes` say what was left out."""
    negatives, positives = np.bincount(labels, minlength=2)
    if min(negatives, positives) < least:
        raise DataError(
            f"{negatives} negative and {positives} positive images; at least {least} of each class are needed"
            + "".join(f". {note.removesuffix('.')}" for note in notes if "left out" in note)
        )


def _name_sides(folds, num_images: int) -> np.ndarray:
    split = np.empty(num_images, dtype=object)
    for name, (_, members) in zip(FOLDS, folds, strict=True):
        split[members] = name
    return split


def _nearest_sides(folds, labels: np.ndarray, seed: int) -> np.ndarray:
    """The folds' sides in a random order, out of `ATTEMPTS` the one nearest to the shares of both classes.

    scikit-learn puts the largest groups into the first folds: in the order of `FOLDS` they would all be in train.
    """
    numbers = np.empty(len(labels), dtype=int)
    for number, (_, members) in enumerate(folds):
        numbers[members] = number
    counts = np.stack([np.bincount(numbers, labels == label, len(FOLDS)) for label in (0, 1)])  # (2, folds)
    rng, names = np.random.default_rng(seed), np.array(FOLDS, dtype=object)

    def error(order: np.ndarray) -> float:
        have = np.stack([counts[:, order == name].sum(axis=1) for name in SHARES])
        wanted = np.outer(list(SHARES.values()), counts.sum(axis=1))
        return (((have - wanted) / counts.sum(axis=1)) ** 2).sum()

    return min((rng.permutation(names) for _ in range(ATTEMPTS)), key=error)[numbers]


def _lacking(labels: np.ndarray, split: np.ndarray, shares: dict[str, float]) -> list[str]:
    """The sides that do not hold both classes."""
    return [name for name in shares if len(np.unique(labels[split == name])) < 2]


# ---- where few groups hold a class, folds at random may miss the splits that exist


def _searched_split(labels: np.ndarray, groups: np.ndarray, seed: int, shares: dict[str, float]) -> np.ndarray:
    """The split by group whose sides come nearest to `shares` of both classes, out of `ATTEMPTS` random ones."""
    _, numbers = np.unique(groups, return_inverse=True)
    counts = np.stack([np.bincount(numbers, labels == label) for label in (0, 1)], axis=1)  # (G, 2)
    rng = np.random.default_rng(seed)
    found = [_assign(counts, rng.permutation(len(counts)), list(shares.values())) for _ in range(ATTEMPTS)]
    valid = [(error, sides) for error, sides in found if error is not None]
    if not valid:
        negatives, positives = (counts > 0).sum(axis=0)
        raise DataError(
            f"no split by group was found whose {', '.join(shares)} sides all hold both classes: of {len(counts)} "
            f"group(s), {negatives} hold negatives and {positives} positives, and at least {len(shares)} of each are "
            "needed. Add photographs of other patients, or correct what is taken for the patient: --group-pattern REGEX"
        )
    _, sides = min(valid, key=lambda one: one[0])
    return np.array(list(shares), dtype=object)[sides[numbers]]


def _assign(counts: np.ndarray, order: np.ndarray, shares: list[float]) -> tuple[float | None, np.ndarray]:
    """The side of each group (G,), and the squared distance from the shares; None where a side lacks a class.

    The smallest sides first get a group of each class, the rarer one first; then the largest groups go where most
    is missing.
    """
    wanted = np.outer(shares, counts.sum(axis=0)) / sum(shares)  # (sides, 2)
    have, sides = np.zeros_like(wanted), np.full(len(counts), -1)

    def put(group: int, side: int) -> None:
        sides[group] = side
        have[side] += counts[group]

    for side, label in _places(counts, shares):
        if not have[side, label]:
            free = [group for group in order if sides[group] < 0 and counts[group, label]]
            if not free:
                return None, sides
            put(free[0], side)
    scale = np.maximum(counts.sum(axis=0), 1)
    for group in sorted((g for g in order if sides[g] < 0), key=lambda g: -counts[g].sum()):
        put(group, int(np.argmax(((wanted - have) / scale) @ (counts[group] > 0))))
    return float((((have - wanted) / scale) ** 2).sum()), sides


def _places(counts: np.ndarray, shares: list[float]) -> Iterator[tuple[int, int]]:
    rarer_first = np.argsort((counts > 0).sum(axis=0), kind="stable")
    for label in rarer_first:
        for side in np.argsort(shares, kind="stable"):
            yield int(side), int(label)
