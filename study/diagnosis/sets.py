"""Training sets (real, repeated and synthetic images) and test sets (corrupted and external images) of a classifier."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data_utils.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_utils.dataset import Dataset, Side, even_places

SYNTHETIC_GROUP = "synthetic"  # group and image id of synthetic images


def oversample(dataset: Dataset, oversampling: float) -> Dataset:
    """The data set with training images repeated: `oversampling` copies an image, in the proportions of the classes."""
    train = dataset.side("train")
    return _repeat(dataset, train, even_places(train.labels, round(oversampling * len(train.labels))))


def oversample_rarer(dataset: Dataset) -> Dataset:
    """The data set with the rarer class's training images repeated in turn until the classes are equal."""
    train = dataset.side("train")
    num_missing = len(missing_labels(train.labels))
    rare = (train.labels == train.labels.bincount(minlength=2).argmin()).nonzero()[:, 0]
    return _repeat(dataset, train, rare[torch.arange(num_missing, device=rare.device) % len(rare)])


def missing_labels(labels: Tensor) -> Tensor:
    """Labels of the images that the rarer class lacks to be as large as the other; none where both are equal."""
    counts = labels.bincount(minlength=2)
    return counts.argmin().repeat(int(counts.max() - counts.min()))


def mix(dataset: Dataset, images: Tensor, labels: Tensor, keep_real: bool) -> Dataset:
    """The data set with synthetic images (M, 3, S, S) on its train side, together with the real ones or alone."""
    name = np.full(len(labels), SYNTHETIC_GROUP)
    kept = dataset if keep_real else dataset.keep(dataset.split != "train")
    return _add(kept, images, labels, name, name)


def _repeat(dataset: Dataset, train: Side, chosen: Tensor) -> Dataset:
    place = chosen.cpu().numpy()
    return _add(dataset, train.images[chosen], train.labels[chosen], train.groups[place], train.image_ids[place])


def _add(dataset: Dataset, images: Tensor, labels: Tensor, groups: np.ndarray, image_ids: np.ndarray) -> Dataset:
    return replace(
        dataset,
        images=torch.cat([dataset.images, images]),
        labels=torch.cat([dataset.labels, labels]),
        split=np.concatenate([dataset.split, np.full(len(labels), "train")]),
        groups=np.concatenate([dataset.groups, groups]),
        image_ids=np.concatenate([dataset.image_ids, image_ids]),
    )


@dataclass(frozen=True)
class Condition:
    """`side`: validation, test or external; a corruption of `data_utils.corruptions` at strength 1 to 3, or none."""

    side: str
    corruption: str = "none"
    strength: int = 0


def corrupted_tests(test: Side) -> Iterator[tuple[Condition, Side]]:
    """The test side under every corruption at every strength, one at a time."""
    for corruption in CORRUPTIONS:
        for strength in STRENGTHS:
            images = corrupt(test.images, corruption, strength, seed=0)  # the same for every trial
            yield Condition("test", corruption, strength), replace(test, images=images)


def external_test(dataset: Dataset) -> Iterator[tuple[Condition, Side]]:
    """All images of a data set that no training has seen; its own split is ignored."""
    yield Condition("external"), Side(dataset.images, dataset.labels, dataset.groups, dataset.image_ids)


def predictions(condition: Condition, side: Side, probabilities: np.ndarray) -> list[dict]:
    """One dict an image: the columns of `results.tables.schema.PREDICTIONS` that describe image and condition."""
    images = zip(side.image_ids, side.groups, side.labels.tolist(), probabilities.tolist(), strict=True)
    return [
        {**vars(condition), "image_id": image_id, "group": group, "label": label, "probability": probability}
        for image_id, group, label, probability in images
    ]
