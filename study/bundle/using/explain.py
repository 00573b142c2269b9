"""Which part of a photograph the answer hangs on: an occlusion map, drawn over what the network sees."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from study.bundle.networks import BATCH, Classifier, sigmoid

GRID = 16  # places of the patch along each side
PATCH = 1 / 4  # side of the patch, of the image's
WEAK = 0.1  # a fall in probability under which the colours stay pale
SCALE = 384  # pixels of the overlay's side
LIGHT = np.array([255, 140, 0])  # towards the positive class: orange
DARK = np.array([0, 110, 255])  # towards the negative class: blue


def occlusion_map(classifier: Classifier, pixels: np.ndarray) -> np.ndarray:
    """(16, 16): by how much the positive class's probability falls when a patch there is hidden.

    Positive where the photograph speaks for the positive class, negative where it speaks against it (Zeiler and
    Fergus 2014, section 4.2). The patch is a quarter of the side and has the image's mean colour. `pixels` are uint8
    (3, S, S).
    """
    size = pixels.shape[1]
    patch = max(2, round(PATCH * size))
    starts = np.linspace(0, size - patch, GRID).round().astype(int)
    mean = pixels.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    hidden = np.repeat(pixels[None], GRID * GRID, axis=0)
    for place, (top, left) in enumerate((top, left) for top in starts for left in starts):
        hidden[place, :, top : top + patch, left : left + patch] = mean
    images = np.concatenate([pixels[None], hidden])
    probabilities = np.concatenate(
        [sigmoid(classifier(images[i : i + BATCH])[0]) for i in range(0, len(images), BATCH)]
    )
    return (probabilities[0] - probabilities[1:]).reshape(GRID, GRID)


def overlay(classifier: Classifier, pixels: np.ndarray) -> Image.Image:
    """The photograph in grey, orange where it speaks for the positive class and blue where against it."""
    drops = occlusion_map(classifier, pixels)
    strength = drops / max(np.abs(drops).max(), WEAK)
    smooth = Image.fromarray(strength.astype(np.float32)).resize((SCALE, SCALE), Image.Resampling.BICUBIC)
    weight = np.asarray(smooth).clip(-1, 1)[..., None]
    seen = Image.fromarray(pixels.transpose(1, 2, 0)).convert("L").resize((SCALE, SCALE), Image.Resampling.BICUBIC)
    grey = np.asarray(seen.convert("RGB")).astype(np.float32)
    colour = np.where(weight > 0, LIGHT, DARK)
    share = 0.65 * np.abs(weight)
    return Image.fromarray((grey * (1 - share) + colour * share).round().astype(np.uint8))


def save_overlay(classifier: Classifier, pixels: np.ndarray, path: Path) -> None:
    path.write_bytes(overlay_png(classifier, pixels))


def overlay_png(classifier: Classifier, pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    overlay(classifier, pixels).save(buffer, "PNG")
    return buffer.getvalue()
