"""Differentiable augmentation of what a critic sees, real and synthetic alike (DiffAugment, Zhao et al. 2020).

A critic of few images learns them by heart; it cannot where each is shown otherwise every time. The generator does not
learn to augment, as its images pass through the same. Tensors in, tensors out: the random numbers are the caller's.
"""

import torch
from torch import Tensor

NUM_PARAMETERS = 8
SHIFT, HOLE = 1 / 8, 1 / 2  # of the image's side
ADAPTATION = 20_000  # real images in which an adaptive probability can go from 0 to 1


def diff_augment(images: Tensor, uniform: Tensor, probability: float | Tensor = 1.0) -> Tensor:
    """Colour, translation and cutout of images (B, 3, S, S) in about [-1, 1]; `uniform` (B, 8) in [0, 1).

    Brightness is shifted by up to 0.5, saturation multiplied by 0 to 2, contrast by 0.5 to 1.5; the image is moved by
    up to an eighth of its side, and a square of half its side is set to 0. Each is changed with `probability`.
    """
    brightness, saturation, contrast, down, right, row, column, chance = (
        part.view(-1, 1, 1, 1) for part in uniform.to(images.dtype).unbind(1)
    )
    changed = images + (brightness - 0.5)
    grey = changed.mean(dim=1, keepdim=True)
    changed = grey + (changed - grey) * 2 * saturation
    mean = changed.mean(dim=(1, 2, 3), keepdim=True)
    changed = mean + (changed - mean) * (0.5 + contrast)
    size = images.shape[-1]
    changed = moved(moved(changed, down, 2), right, 3)
    place = torch.arange(size, device=images.device)
    in_rows, in_columns = (
        (place - centre.mul(size).floor() + HOLE * size / 2).div(HOLE * size).floor() == 0 for centre in (row, column)
    )
    hole = in_rows.transpose(-1, -2) & in_columns  # (B, 1, S, S)
    return torch.where(chance < probability, torch.where(hole, 0, changed), images)


def adapted(probability: Tensor, overfitting: Tensor, target: float, images: int) -> Tensor:
    """The probability after so many more real images: higher where the critic overfits more than the target.

    Adaptive augmentation (Karras et al. 2020b, section 3): a constant step up or down, within [0, 1]. `overfitting` is
    that of `models.objectives.overfitting`. The paper's 500,000 images from 0 to 1 are more than a short training sees.
    """
    return (probability + (overfitting - target).sign() * (images / ADAPTATION)).clamp(0, 1)


def moved(images: Tensor, uniform: Tensor, dim: int) -> Tensor:
    """Images moved along `dim` by a whole number of pixels up to an eighth of the side; `uniform` (B, 1, 1, 1)."""
    size = images.shape[dim]
    reach = round(SHIFT * size)
    shift = (uniform * (2 * reach + 1)).floor().long() - reach
    place = torch.arange(size, device=images.device)
    source = (place.view(-1, 1) if dim == 2 else place) - shift  # (B, 1, S, 1) or (B, 1, 1, S)
    found = images.gather(dim, source.clamp(0, size - 1).expand(images.shape))
    return torch.where((source >= 0) & (source < size), found, 0)
