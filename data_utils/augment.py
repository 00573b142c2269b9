"""Rotation, flip, zoom and contrast (the paper's augmentations), for a whole batch on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [-1, 1], the range of the generators' tanh."""
    return (images.float() / 127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [-1, 1] -> uint8 in [0, 255], rounded; values beyond the range are clipped."""
    return (images.float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def draw_augmentation(
    batch: int,
    generator: torch.Generator,
    *,
    rotation: float,
    zoom: float,
    contrast: float,
    flip: bool = True,
) -> Tensor:
    """Draw (batch, 4) parameters: angle in degrees, zoom factor, contrast factor, mirror sign (-1 or 1).

    Uniform in +-rotation degrees, 1 +- zoom and 1 +- contrast; a mirror with probability one half.
    Apart from `apply_augmentation` so that several workers can draw one global batch and take their shares.
    """
    uniform = torch.rand(batch, 4, generator=generator, device=generator.device)
    span = torch.tensor([rotation, zoom, contrast], device=uniform.device)
    centre = torch.tensor([0.0, 1.0, 1.0], device=uniform.device)
    mirror = torch.where(uniform[:, 3:] < (0.5 if flip else 0.0), -1.0, 1.0)
    return torch.cat([centre + span * (2 * uniform[:, :3] - 1), mirror], dim=1)


def apply_augmentation(images: Tensor, parameters: Tensor) -> Tensor:
    """Augment uint8 images (B, 3, S, S) by `draw_augmentation`'s (B, 4) -> float32 (B, 3, S, S) in [-1, 1].

    One bilinear resampling with reflection at the borders; contrast is stretched around each image's mean.
    """
    angle, zoom, contrast, mirror = parameters.to(images.device).unbind(1)
    angle = angle * (math.pi / 180)
    cos, sin, zero = angle.cos() / zoom, angle.sin() / zoom, torch.zeros_like(angle)
    affine = torch.stack([mirror * cos, -sin, zero, mirror * sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    images = F.grid_sample(to_float(images), grid, padding_mode="reflection", align_corners=False)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return images.sub_(mean).mul_(contrast.view(-1, 1, 1, 1)).add_(mean).clamp_(-1, 1)
