"""How copies of a photograph come to differ from it."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

Change = Callable[[Image.Image], Image.Image]
TURNS = Image.Transpose


def cropped(share: float, x: float = 0.5, y: float = 0.5) -> Change:
    """Cut to `share` of each side, at x and y in [0, 1] of what is left over, and enlarged to the old size."""

    def change(image: Image.Image) -> Image.Image:
        side = round(share * image.width)
        left, top = (round(place * (image.width - side)) for place in (x, y))
        return image.crop((left, top, left + side, top + side)).resize(image.size, Image.Resampling.BICUBIC)

    return change


def jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def noisy(deviation: float) -> Change:
    """Normal noise of a deviation in grey levels, the same for every image of a size."""

    def change(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image, dtype=float)
        pixels = pixels + np.random.default_rng(0).normal(0, deviation, pixels.shape)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

    return change


def half_size(image: Image.Image) -> Image.Image:
    half = (image.width // 2, image.height // 2)
    return image.resize(half, Image.Resampling.LANCZOS).resize(image.size, Image.Resampling.BICUBIC)


def brighter(factor: float) -> Change:
    return lambda image: image.point(lambda value: value * factor)


def with_gamma(gamma: float) -> Change:
    return lambda image: image.point(lambda value: 255 * (value / 255) ** gamma)


def turned(angle: float) -> Change:
    """Turned within its frame; the corners become black."""
    return lambda image: image.rotate(angle, Image.Resampling.BICUBIC)


def together(*changes: Change) -> Change:
    def change(image: Image.Image) -> Image.Image:
        for part in changes:
            image = part(image)
        return image

    return change


CHANGES: dict[str, Change] = {
    "identical": lambda image: image,
    "mirrored": lambda image: image.transpose(TURNS.FLIP_LEFT_RIGHT),
    "turned by 90 degrees": lambda image: image.transpose(TURNS.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(TURNS.ROTATE_180),
    "turned by 270 degrees": lambda image: image.transpose(TURNS.ROTATE_270),
    "transposed": lambda image: image.transpose(TURNS.TRANSPOSE),
    "JPEG 30": jpeg(30),
    "half size": half_size,
    "crop 95 %": cropped(0.95),
    "crop 90 %": cropped(0.9),
    "crop 80 %": cropped(0.8),
    "crop 80 %, corner": cropped(0.8, 0, 0),
    "crop 85 %, edge": cropped(0.85, 0.9, 0.3),
    "crop 70 %": cropped(0.7),
    "crop 50 %": cropped(0.5),
    "brightness 0.9": brighter(0.9),
    "brightness 0.8": brighter(0.8),
    "contrast 0.8": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "gamma 1.3": with_gamma(1.3),
    "gamma 0.75": with_gamma(0.75),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "turned by 5 degrees": turned(5),
    "turned by 5, crop 88 %": together(turned(5), cropped(0.88)),
    "turned by 10, crop 80 %": together(turned(10), cropped(0.8)),
    "turned by 30, crop 70 %": together(turned(30), cropped(0.7)),
    "noise of 4": noisy(4),
    "noise of 12": noisy(12),
    "90 degrees, crop 85 %, darker, JPEG 50": together(
        lambda image: image.transpose(TURNS.ROTATE_90), cropped(0.85, 1, 0.5), brighter(0.85), jpeg(50)
    ),
}
