"""A prepared file as uint8 tensors on the device that trains."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from data_utils.decode import square
from data_utils.errors import DataError
from data_utils.parquet_file import read_table


@dataclass(frozen=True)
class Side:
    """One side of the split: images (n, 3, S, S) uint8, labels (n,) int64, group and id of each image."""

    images: Tensor
    labels: Tensor
    groups: np.ndarray
    image_ids: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """All N prepared images, (N, 3, S, S) uint8 and labels (N,) int64, with what is known of their source.

    `class_names` are (negative, positive); groups and image ids are salted hashes.
    """

    images: Tensor
    labels: Tensor
    split: np.ndarray
    groups: np.ndarray
    image_ids: np.ndarray
    fingerprint: str
    class_names: tuple[str, str]
    path: Path

    def side(self, name: str) -> Side:
        """The images of "train", "validation" or "test"."""
        chosen = np.flatnonzero(self.split == name)
        assert len(chosen), f"no images in {name!r}"
        index = torch.from_numpy(chosen).to(self.images.device)
        return Side(self.images[index], self.labels[index], self.groups[chosen], self.image_ids[chosen])

    def keep(self, kept: np.ndarray) -> "Dataset":
        """Only the images of the flags `kept` (N,)."""
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.images.device)
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            split=self.split[kept],
            groups=self.groups[kept],
            image_ids=self.image_ids[kept],
        )


def load_dataset(path: Path, image_size: int, device: str | torch.device = "cpu") -> Dataset:
    """Decode every image of a prepared file once, made smaller (antialiased) where it is stored larger.

    Raises `DataError` for a damaged file, and where `image_size` is larger than the stored size.
    """
    table, metadata = read_table(path)
    if image_size > metadata["image_size"]:
        raise DataError(
            f"{path} holds images of {metadata['image_size']} px; prepare it again at {image_size} px"
        )
    with ThreadPoolExecutor() as pool:
        try:
            images = np.stack(list(pool.map(lambda png: _pixels(png, image_size), table["image"].to_pylist())))
        except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} holds an image that cannot be decoded ({error}); prepare it again") from None
    split, groups, image_ids = (table[name].to_numpy() for name in ("split", "group", "image_id"))
    return Dataset(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device),
        labels=torch.from_numpy(table["label"].to_numpy().astype(np.int64)).to(device),
        split=split,
        groups=groups,
        image_ids=image_ids,
        class_names=tuple(metadata["class_names"]),
        path=path,
        fingerprint=metadata["fingerprint"],
    )


def _pixels(png: bytes, size: int) -> np.ndarray:
    """(size, size, 3) uint8"""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return np.asarray(image if image.width == size else square(image, size))


def even_places(labels: Tensor, count: int) -> Tensor:
    """(count,) places in `labels` whose classes have the proportions of `labels`, negatives first."""
    places = torch.linspace(0, len(labels) - 1, count, device=labels.device).round().long()
    return labels.argsort(stable=True)[places]


def evenly_drawn(labels: Tensor, count: int) -> Tensor:
    """`count` labels in the proportions of `labels`."""
    return labels[even_places(labels, count)]


def training_subset(dataset: Dataset, fraction: float, seed: int, positive_fraction: float = 1.0) -> Dataset:
    """The data set with a `fraction` in (0, 1] of its training groups; validation and test stay as they are.

    The same share is kept, to the nearest whole group, of the groups that hold negatives, positives or both; of those
    with a positive image, only `positive_fraction` in (0, 1] of that share. For one seed the groups of a smaller
    fraction are among those of a larger one. Labels and order decide which, not the salted names.
    Raises `DataError` where a class would be left without an image.
    """
    assert fraction <= 1 and positive_fraction <= 1, (fraction, positive_fraction)
    if fraction == positive_fraction == 1:
        return dataset
    labels, is_train = dataset.labels.cpu().numpy(), dataset.split == "train"
    kept_groups = _draw_groups(labels[is_train], dataset.groups[is_train], fraction, seed, positive_fraction)
    kept = ~is_train | np.isin(dataset.groups, kept_groups)
    for label, name in enumerate(dataset.class_names):
        if not (is_train & kept & (labels == label)).any():
            raise DataError(
                f"training_fraction={fraction:g} of {len(set(dataset.groups[is_train]))} training groups leaves none "
                f"that holds {name!r}, with positive_fraction={positive_fraction:g}; use a larger fraction"
            )
    return dataset.keep(kept)


def _draw_groups(
    labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int, positive_fraction: float
) -> np.ndarray:
    images = pd.DataFrame({"group": groups, "label": labels})
    classes = images.groupby("group", sort=False)["label"].agg(["min", "max"])  # (0, 1) where a group holds both
    shuffled = classes.sample(frac=1, random_state=np.random.default_rng(seed))
    alike = shuffled.groupby(["min", "max"])
    share = np.where(shuffled["max"] == 1, fraction * positive_fraction, fraction)
    num_kept = (share * alike["min"].transform("size")).round()
    return shuffled.index[alike.cumcount() < num_kept].to_numpy()
