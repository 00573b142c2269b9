"""What a GAN's synthetic images are measured against: one data set, one extractor, real features computed once."""

import time
from functools import cached_property
from pathlib import Path

import torch

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor, build_feature_extractor
from study.config import GanConfig
from study.gan.image_quality import ImageFeatures, frechet_distance, image_features, quality_metrics, real_features

INCEPTION_FILE = "inception-weights.pth"


def inception_weights(prepared_folder: Path) -> Path | None:
    """The Inception weights that `--inception-weights` put beside the prepared data, if any."""
    path = prepared_folder / INCEPTION_FILE
    return path if path.exists() else None


class GanQuality:
    """Measures synthetic images against the validation and training images of a data set.

    Everything is loaded at the first measurement; real features are cached beside the prepared data. `seconds` is
    the time spent measuring so far, the first loading left out.
    """

    def __init__(self, config: GanConfig, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.seconds = 0.0

    @property
    def num_real(self) -> int:
        return int((self.dataset.split == "validation").sum())

    @cached_property
    def extractor(self) -> FeatureExtractor:
        weights = inception_weights(self.dataset.path.parent)
        return build_feature_extractor(self.config.feature_extractor, weights, self.dataset.images.device)

    @cached_property
    def validation(self) -> ImageFeatures:
        return self._real("validation")

    @cached_property
    def train(self) -> ImageFeatures:
        return self._real("train")

    def _real(self, side: str) -> ImageFeatures:
        part = self.config.training_part if side == "train" else ""
        content = f"{self.dataset.fingerprint}-{self.config.image_size}-{self.extractor.key}-{side}{part}"
        name = f"features-{content}.safetensors"
        return real_features(self.dataset.side(side).images, self.extractor, self.dataset.path.parent / name)

    def features(self, images: torch.Tensor) -> ImageFeatures:
        """Features of synthetic images uint8 (N, 3, S, S)."""
        return image_features(images, self.extractor)

    def frechet_distance(self, fake: torch.Tensor) -> float:
        """The Frechet distance of synthetic images uint8 (N, 3, S, S) to the validation images."""
        self.validation  # noqa: B018  loaded before the clock starts
        started = time.perf_counter()
        distance = frechet_distance(self.features(fake).features, self.validation.features)
        self.seconds += time.perf_counter() - started
        return distance

    def final_metrics(self, fake: torch.Tensor) -> dict:
        """All image-quality columns of a finished GAN."""
        reals = self.validation, self.train
        started = time.perf_counter()
        metrics = quality_metrics(self.features(fake), *reals, extractor_name=self.extractor.name)
        self.seconds += time.perf_counter() - started
        return metrics


def warm_features(config: GanConfig, dataset: Dataset) -> None:
    """Compute the real images' features once, before several trials would do so at the same time."""
    quality = GanQuality(config, dataset)
    _ = quality.validation, quality.train
