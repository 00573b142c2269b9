"""What a classifier is trained on: real images, real ones repeated, synthetic ones, or a mixture."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from data_utils.dataset import Dataset

SYNTHETIC_GROUP = "synthetic"  # in the place of a group and an image id


def even_places(labels: Tensor, count: int) -> Tensor:
    """(count,) places in `labels` whose classes have the proportions of `labels`, negatives first."""
    places = torch.linspace(0, len(labels) - 1, count, device=labels.device).round().long()
    return labels.argsort(stable=True)[places]


def oversample(dataset: Dataset, oversampling: float) -> Dataset:
    """The data set with real training images repeated: `oversampling` for each, in the proportions of the classes."""
    train = dataset.side("train")
    chosen = even_places(train.labels, round(oversampling * len(train.labels)))
    place = chosen.cpu().numpy()
    return _add(dataset, train.images[chosen], train.labels[chosen], train.groups[place], train.image_ids[place])


def mix(dataset: Dataset, images: Tensor, labels: Tensor, keep_real: bool) -> Dataset:
    """The data set with synthetic images (M, 3, S, S) on its train side, beside the real ones or instead of them."""
    name = np.full(len(labels), SYNTHETIC_GROUP)
    kept = dataset if keep_real else dataset.keep(dataset.split != "train")
    return _add(kept, images, labels, name, name)


def _add(dataset: Dataset, images: Tensor, labels: Tensor, groups: np.ndarray, image_ids: np.ndarray) -> Dataset:
    return replace(
        dataset,
        images=torch.cat([dataset.images, images]),
        labels=torch.cat([dataset.labels, labels]),
        split=np.concatenate([dataset.split, np.full(len(labels), "train")]),
        groups=np.concatenate([dataset.groups, groups]),
        image_ids=np.concatenate([dataset.image_ids, image_ids]),
    )
