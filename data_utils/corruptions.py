"""Test images as a bad phone photograph would show them: six faults, three strengths each.

The idea, and grading by hand, follow Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations". Strength 1 is a slip hardly noticed, 3 a photograph that a nurse would take again.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

STRENGTHS = (1, 2, 3)
REFERENCE_SIZE = 128  # pixels: a photograph whose grain and JPEG blocks smaller images show, averaged


def corrupt(images: Tensor, name: str, strength: int, seed: int) -> Tensor:
    """Apply the corruption `CORRUPTIONS[name]` to uint8 images (N, 3, S, S) -> uint8 (N, 3, S, S), same device.

    Equal arguments give equal images; what is random (noise, place of the crop) is drawn on the CPU, so that every
    device sees the same. Raises ValueError for an unknown name or strength.
    """
    if name not in CORRUPTIONS or strength not in STRENGTHS:
        raise ValueError(
            f"corruption {name!r} of strength {strength!r} is unknown; the corruptions are {', '.join(CORRUPTIONS)}, "
            f"the strengths {', '.join(map(str, STRENGTHS))}"
        )
    apply, *amounts = CORRUPTIONS[name]
    return apply(images, amounts[STRENGTHS.index(strength)], torch.Generator().manual_seed(seed))


def _blur(images: Tensor, sigma: float, _: torch.Generator) -> Tensor:
    sigma *= images.shape[-1]
    return transforms.gaussian_blur(images, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)


def _noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return _to_uint8(images + deviation * images.shape[-1] / REFERENCE_SIZE * noise)


def _jpeg(images: Tensor, quality: int, _: torch.Generator) -> Tensor:
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    reread = np.stack([_through_jpeg(Image.fromarray(image), quality) for image in pixels])
    return torch.from_numpy(reread).permute(0, 3, 1, 2).contiguous().to(images.device)


def _through_jpeg(image: Image.Image, quality: int) -> np.ndarray:
    """(S, S, 3) uint8"""
    file, size = io.BytesIO(), max(image.width, REFERENCE_SIZE)
    image.resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    with Image.open(file) as reread:
        return np.asarray(reread.resize(image.size, Image.Resampling.BICUBIC))


def _brightness(images: Tensor, factor: float, _: torch.Generator) -> Tensor:
    return _to_uint8(images * factor)


def _white_balance(images: Tensor, shift: float, _: torch.Generator) -> Tensor:
    gains = torch.tensor([1 + shift, 1, 1 - shift], device=images.device)
    return _to_uint8(images * gains.view(3, 1, 1))


def _crop(images: Tensor, kept: float, generator: torch.Generator) -> Tensor:
    x, y = (1 - kept) * (2 * torch.rand(2, len(images), generator=generator) - 1)  # centres, in [-1, 1]
    scale, zero = torch.full_like(x, kept), torch.zeros_like(x)
    affine = torch.stack([scale, zero, x, zero, scale, y], dim=1).view(-1, 2, 3).to(images.device)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return _to_uint8(F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False))


def _to_uint8(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


# name -> function and its amount at strengths 1, 2 and 3
CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], float, float, float]] = {
    # Gaussian; standard deviation as a share of the image's width
    "blur":          (_blur,          0.01, 0.02, 0.04),
    # Gaussian, of each pixel and colour alone; standard deviation in levels of 255 at 128 px, less in smaller images
    # in proportion to S, as where pixels are averaged
    "noise":         (_noise,         12,   24,   48),
    # quality, of the image at 128 px where it is smaller
    "jpeg":          (_jpeg,          30,   15,   7),
    # factor of the sRGB values, always darker: about one, two and three stops less light, 2 ** (-stops / 2.2)
    "brightness":    (_brightness,    0.73, 0.53, 0.39),
    # red up and blue down by this share, always warmer: about lamps of 5000, 4200 and 3500 K to a camera set to 6500 K
    "white_balance": (_white_balance, 0.1,  0.2,  0.3),
    # share of the width and height that is left, at a random place, and resized to S
    "crop":          (_crop,          0.85, 0.7,  0.55),
}  # fmt: skip
