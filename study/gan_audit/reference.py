"""The real images that generators are audited against, in the features of one extractor."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor
from study.gan.image_quality import ImageFeatures, image_features, real_features
from study.gan_audit.copying import Nearest, as_vectors, feature_distances, nearest, pixel_distances
from study.gan_audit.diversity import Spread, spread


@dataclass(frozen=True)
class Sample:
    """N images with labels, groups, features, and their nearest training images in features and in pixels."""

    images: Tensor
    labels: Tensor
    groups: Tensor
    features: Tensor
    logits: Tensor | None
    in_features: Nearest
    in_pixels: Nearest

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, chosen: Tensor) -> "Sample":
        parts = (getattr(self, field.name) for field in fields(self))
        return Sample(*(None if part is None else part[chosen] for part in parts))

    def spreads(self) -> dict[str, Spread | None]:
        """How different the images are from each other, in "features" and in "pixels"."""
        vectors = {"features": self.features, "pixels": as_vectors(self.images)}
        return {name: spread(value, self.groups) for name, value in vectors.items()}


class Reference:
    """Held-out and training images of a data set, mirrored training images too; all on the CPU.

    Held-out images are the validation side's; the test side is not read. Features are cached beside the prepared
    data; `part` names the part of the training set, where `dataset` holds only a part.
    """

    def __init__(self, dataset: Dataset, extractor: FeatureExtractor, part: str = ""):
        self.extractor, self.part, self.dataset = extractor, part, dataset
        train = dataset.side("train")
        self.train_images, self.train_labels, self.train_ids = train.images.cpu(), train.labels.cpu(), train.image_ids
        self.train_groups = _codes(train.groups)
        self.train = self._cached(self.train_images, "train")
        self.mirrored = self._cached(self.train_images.flip(-1), "train-mirrored")

    def _cached(self, images: Tensor, side: str) -> ImageFeatures:
        part = self.part if side != "validation" else ""  # of which there is one for all parts
        content = f"{self.dataset.fingerprint}-{images.shape[-1]}-{self.extractor.key}-{side}{part}"
        return real_features(images, self.extractor, self.dataset.path.parent / f"features-{content}.safetensors")

    @cached_property
    def held_out(self) -> Sample:
        """The validation images."""
        side = self.dataset.side("validation")
        features = self._cached(side.images.cpu(), "validation")
        return self._sample(features, side.labels.cpu(), _codes(side.groups))

    @property
    def held_out_ids(self) -> np.ndarray:
        return self.dataset.side("validation").image_ids

    def sample(self, images: Tensor, labels: Tensor) -> Sample:
        """Synthetic images uint8 (N, 3, S, S) of the classes `labels` (N,), each a group of its own."""
        return self._sample(image_features(images, self.extractor), labels.cpu(), torch.arange(len(labels)))

    def _sample(self, found: ImageFeatures, labels: Tensor, groups: Tensor) -> Sample:
        in_features = feature_distances(found.features, self.train.features, self.mirrored.features)
        in_pixels = pixel_distances(found.images, self.train_images)
        neighbours = (nearest(distances, self.train_groups) for distances in (in_features, in_pixels))
        return Sample(found.images, labels, groups, found.features, found.logits, *neighbours)


def _codes(groups: np.ndarray) -> Tensor:
    """Group names -> numbers (N,)."""
    return torch.from_numpy(np.unique(groups.astype(str), return_inverse=True)[1])
