"""Coarse pixels instead of a network's features."""

import torch
from torch import nn
from torch.nn import functional as F

from models.feature_extractor import FeatureExtractor
from study.gan.features import ImageFeatures
from study.gan.metrics import frechet_distance
from study.gan.quality import GanQuality


class PixelQuality(GanQuality):
    """Measures with coarse pixels, for tests that do not depend on the distance's value."""

    @property
    def validation(self) -> ImageFeatures:
        return self.features(self.dataset.side("validation").images)

    @property
    def train(self) -> ImageFeatures:
        return self.features(self.dataset.side("train").images)

    def features(self, images: torch.Tensor) -> ImageFeatures:
        return ImageFeatures(images, torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1), None)

    def final_metrics(self, fake: torch.Tensor) -> dict:
        distance = frechet_distance(self.features(fake).features, self.validation.features)
        return {"frechet_distance": distance, "num_real": self.num_real, "num_fake": len(fake)}


class CoarsePixels(nn.Module):
    """A cheap network: 4 x 4 mean colours."""

    def forward(self, images):
        return F.adaptive_avg_pool2d(images.float(), 4).flatten(1), None


def coarse_pixels() -> FeatureExtractor:
    return FeatureExtractor("coarse pixels", "coarse", False, CoarsePixels(), torch.device("cpu"))
