"""Feature maps of a frozen backbone, computed once for all epochs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_utils.augment import to_float
from models.classifier import Classifier
from study.config import TrialConfig
from study.training.precision import autocast

FEATURE_BATCH = 128


@dataclass(frozen=True)
class FrozenFeatures:
    """Feature maps (N, cells, C) of images as they are and mirrored; a frozen backbone allows no other augmentation."""

    plain: Tensor
    mirrored: Tensor

    def augmented(self, rows: Tensor, parameters: Tensor) -> Tensor:
        """Feature maps (B, cells, C) of the images `rows` under `data_utils.augment.draw_augmentation`'s parameters."""
        is_mirrored = (parameters[:, 3] < 0).to(rows.device)[:, None, None]
        return torch.where(is_mirrored, self.mirrored[rows], self.plain[rows])


def frozen_features(config: TrialConfig, model: Classifier, images: Tensor) -> FrozenFeatures | None:
    """Feature maps of uint8 images (N, 3, S, S); None where the backbone is trained."""
    if not config.classifier_frozen:
        return None
    return FrozenFeatures(sequences(config, model, images), sequences(config, model, images.flip(-1)))


@torch.no_grad()
def sequences(config: TrialConfig, model: Classifier, images: Tensor) -> Tensor:
    """Feature maps float32 (N, cells, C) of uint8 images (N, 3, S, S)."""
    model.eval()
    with autocast(config, images.device):
        batches = (to_float(b).contiguous(memory_format=torch.channels_last) for b in images.split(FEATURE_BATCH))
        return torch.cat([model.sequence(batch).float() for batch in batches])
