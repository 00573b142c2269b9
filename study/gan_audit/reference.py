"""The real images that a generator's images are compared with, in the features of one extractor."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from data_utils.dataset import Dataset, training_subset
from models.feature_extractor import FeatureExtractor
from study.config import GanConfig
from study.gan.features import ImageFeatures, image_features, side_features
from study.gan_audit.copying import Nearest, as_vectors, feature_distances, nearest, pixel_distances
from study.gan_audit.diversity import Spread, coarse, spread
from study.gan_audit.labels import Scores, label_classifier, label_scores


def seen_by(config: GanConfig, dataset: Dataset) -> Dataset:
    """The data set with the training images that a GAN has seen, with or without labels.

    A pretrained GAN can copy any training image.
    """
    return dataset if config.pretraining == "unlabelled" else training_subset(dataset, *config.training_groups)


@dataclass(frozen=True)
class Sample:
    """N images with labels, groups and features, and their nearest training images by features and by pixels."""

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
        """How different the images are from each other, in "features", in "pixels" and in "coarse" pixels."""
        vectors = {"features": self.features, "pixels": as_vectors(self.images), "coarse": coarse(self.images)}
        return {name: spread(value, self.groups) for name, value in vectors.items()}


class Reference:
    """Held-out images, training images and mirrored training images of a data set, all on the CPU.

    Held-out images are those of the validation side; the test side is not read.
    """

    def __init__(self, dataset: Dataset, extractor: FeatureExtractor):
        self.extractor, self.dataset, train = extractor, dataset, dataset.side("train")
        self.train_images, self.train_labels, self.train_ids = train.images.cpu(), train.labels.cpu(), train.image_ids
        self.train_groups = _codes(train.groups)
        self.train = side_features(dataset, "train", extractor)
        self.mirrored = side_features(dataset, "train", extractor, "mirrored")

    @cached_property
    def held_out(self) -> Sample:
        """The validation images."""
        side = self.dataset.side("validation")
        features = side_features(self.dataset, "validation", self.extractor)
        return self._sample(features, side.labels.cpu(), _codes(side.groups))

    @cached_property
    def label_classifier(self) -> Pipeline:
        """Trained on the features of the training images."""
        return label_classifier(self.train.features, self.train_labels)

    def label_scores(self, sample: Sample) -> Scores:
        """What the classifier of real images says of a sample."""
        return label_scores(self.label_classifier, sample.features, sample.labels)

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
