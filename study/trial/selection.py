"""The most real of a GAN's images: a choice by a discriminator that has seen training images only."""

import math

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from data_utils.dataset import Dataset
from study.config import GanConfig
from study.gan.quality import GanQuality, labelled, new_discriminator
from study.training.workers import from_first_worker

FOLDS = 5


def surplus_labels(wanted: Tensor, kept: float) -> Tensor:
    """Labels (M,) of the images to make, so that a share `kept` of each class is as many as `wanted` (N,) holds."""
    counts = wanted.bincount(minlength=2).tolist()
    made = [math.ceil(count / kept - 1e-9) for count in counts]  # less the rounding error of a division
    return torch.arange(2, device=wanted.device).repeat_interleave(torch.tensor(made, device=wanted.device))


def most_real(config: GanConfig, dataset: Dataset, images: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Places (N,), by class, of the most real synthetic images uint8 (M, 3, S, S) of the classes `labels` (M,).

    Of each class as many are chosen as `wanted` (N,) holds. Real images are those of the train side of `dataset`, the
    features those that the GAN is measured in; validation and test are not read. An image that copies a training image
    counts as real: see the audit.
    """

    def choose() -> list[int]:
        quality, real_labels = GanQuality(config, dataset), dataset.side("train").labels.cpu()
        fake, real, places = quality.features(images).features, quality.train.features, []
        with threadpool_limits(torch.get_num_threads(), user_api="blas"):
            for label, count in enumerate(wanted.bincount(minlength=2).tolist()):
                own = (labels.cpu() == label).nonzero()[:, 0]
                scores = torch.from_numpy(realness(real[real_labels == label], fake[own]))
                places += own[scores.argsort(descending=True, stable=True)[:count]].sort().values.tolist()
        return places

    return torch.tensor(from_first_worker(choose), dtype=torch.int64, device=images.device)


def realness(real: Tensor, fake: Tensor) -> np.ndarray:
    """Log-odds (M,) that synthetic images are real, by features real (N, D) and synthetic (M, D).

    Each is scored by a logistic discriminator of all real images and of the other folds' synthetic ones.
    """
    folds = np.arange(len(fake)) % FOLDS
    scores = np.empty(len(fake))
    for fold in np.unique(folds):
        held_out = torch.from_numpy(folds == fold)
        discriminator = new_discriminator().fit(*labelled(real, fake[~held_out]))
        scores[folds == fold] = discriminator.decision_function(fake[held_out].numpy())
    return scores
