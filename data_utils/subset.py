"""A part of the training groups: what a study of fewer patients would have had."""

import numpy as np
import pandas as pd

from data_utils.dataset import Dataset
from data_utils.sources import DataError


def training_subset(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The data set with a `fraction` in (0, 1] of its training groups; validation and test stay as they are.

    The same share is kept, to the nearest whole group, of the groups that hold negatives, positives or both. For one
    seed a smaller fraction's groups are among a larger one's. Labels and order decide which, not the salted names.
    Raises `DataError` where a class would be left without an image.
    """
    assert fraction <= 1, fraction
    if fraction == 1:
        return dataset
    labels, is_train = dataset.labels.cpu().numpy(), dataset.split == "train"
    kept_groups = _draw_groups(labels[is_train], dataset.groups[is_train], fraction, seed)
    kept = ~is_train | np.isin(dataset.groups, kept_groups)
    for label, name in enumerate(dataset.class_names):
        if not (is_train & kept & (labels == label)).any():
            raise DataError(
                f"training_fraction={fraction:g} of {len(set(dataset.groups[is_train]))} training groups leaves none "
                f"that holds {name!r}; use a larger fraction"
            )
    return dataset.keep(kept)


def _draw_groups(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    images = pd.DataFrame({"group": groups, "label": labels})
    classes = images.groupby("group", sort=False)["label"].agg(["min", "max"])  # (0, 1) where a group holds both
    shuffled = classes.sample(frac=1, random_state=np.random.default_rng(seed))
    alike = shuffled.groupby(["min", "max"])
    num_kept = (fraction * alike["min"].transform("size")).round()
    return shuffled.index[alike.cumcount() < num_kept].to_numpy()
