"""Generators whose fault is known, made of real images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.leakage.changes import CHANGES, TURNS, Change, brighter, cropped, jpeg, noisy, together
from results.tables.schema import COLLAPSED, COPIES, HONEST, ONE_CLASS, SWAPPED


@dataclass(frozen=True)
class Material:
    """Real images uint8 (M, 3, S, S) and labels (M,): that a generator was trained on, and that it was not."""

    train: Tensor
    train_labels: Tensor
    unseen: Tensor
    unseen_labels: Tensor

    def draw(self, seen: bool, labels: Tensor, draws: np.random.Generator) -> Tensor:
        """An image of each of `labels` (N,); none comes twice unless there are too few."""
        images, known = (self.train, self.train_labels) if seen else (self.unseen, self.unseen_labels)
        drawn = torch.empty(len(labels), *images.shape[1:], dtype=torch.uint8)
        for label in (0, 1):
            places, wanted = (known == label).nonzero()[:, 0].numpy(), labels == label
            count = int(wanted.sum())
            drawn[wanted] = images[draws.choice(places, count, replace=count > len(places))]
        return drawn


Fault = Callable[[Material, Tensor, np.random.Generator], Tensor]  # labels (N,) -> images (N, 3, S, S)


def changed(images: Tensor, change: Change) -> Tensor:
    pixels = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def copier(change: Change, share: float = 1.0) -> Fault:
    """Training images, changed, for a share of the images; the others are unseen ones."""

    def make(material: Material, labels: Tensor, draws: np.random.Generator) -> Tensor:
        images = material.draw(False, labels, draws)
        copied = torch.from_numpy(draws.permutation(len(labels)) < round(share * len(labels)))
        images[copied] = changed(material.draw(True, labels[copied], draws), change)
        return images

    return make


def few_motifs(count: int, deviation: float) -> Fault:
    """`count` unseen images of each class, shown by turns with fresh noise."""

    def make(material: Material, labels: Tensor, draws: np.random.Generator) -> Tensor:
        motifs = material.draw(False, torch.arange(2).repeat_interleave(count), draws).float()
        turns = torch.from_numpy(draws.integers(0, count, len(labels)))
        noise = torch.from_numpy(draws.normal(0, deviation, (len(labels), *motifs.shape[1:])))
        return (motifs[labels * count + turns] + noise).round().clamp(0, 255).byte()

    return make


def mislabelled(relabel: Callable[[Tensor], Tensor]) -> Fault:
    """Unseen images of other classes than those asked for."""
    return lambda material, labels, draws: material.draw(False, relabel(labels), draws)


JITTER = together(cropped(0.97, 0, 1), brighter(0.95))
FAULTS: dict[str, tuple[str, Fault]] = {
    "copies, exact": (COPIES, copier(CHANGES["identical"])),
    "copies, noise of 4": (COPIES, copier(noisy(4))),
    "copies, mirrored": (COPIES, copier(CHANGES["mirrored"])),
    "copies, turned by 90 degrees": (COPIES, copier(CHANGES["turned by 90 degrees"])),
    "copies, upside down": (COPIES, copier(lambda image: image.transpose(TURNS.FLIP_TOP_BOTTOM))),
    "copies, turned by 180 degrees, noise of 4": (COPIES, copier(together(CHANGES["turned by 180 degrees"], noisy(4)))),
    "copies, JPEG 50": (COPIES, copier(jpeg(50))),
    "copies, jittered": (COPIES, copier(JITTER)),
    "copies, jittered and turned by 90 degrees": (COPIES, copier(together(JITTER, CHANGES["turned by 90 degrees"]))),
    "copies, a half": (COPIES, copier(CHANGES["identical"], 0.5)),
    "copies, a fifth": (COPIES, copier(CHANGES["identical"], 0.2)),
    "4 images": (COLLAPSED, few_motifs(2, 0)),
    "4 images, noise of 6": (COLLAPSED, few_motifs(2, 6)),
    "4 images, noise of 12": (COLLAPSED, few_motifs(2, 12)),
    "16 images, noise of 6": (COLLAPSED, few_motifs(8, 6)),
    "labels swapped": (SWAPPED, mislabelled(lambda labels: 1 - labels)),
    "one class, positive": (ONE_CLASS, mislabelled(torch.ones_like)),
    "one class, negative": (ONE_CLASS, mislabelled(torch.zeros_like)),
}
HONEST_SUBSET: tuple[str, Fault] = (HONEST, mislabelled(lambda labels: labels))
