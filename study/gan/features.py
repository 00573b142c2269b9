"""Images with their features; those of real images are kept beside the prepared data."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor
from study.errors import Damaged
from study.storage.lock import kernel_lock
from study.storage.sealed import warn_and_set_aside
from study.storage.tensors import read_tensors, write_tensors
from study.training.seeds import make_generator

NOISE = 0.1  # of pixels from -1 to 1


@dataclass(frozen=True)
class ImageFeatures:
    """Images uint8 (N, 3, H, W) with their features float32 (N, D) and logits float32 (N, K) or None, on the CPU."""

    images: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor | None

    def __len__(self):
        return len(self.images)


def image_features(images: torch.Tensor, extractor: FeatureExtractor) -> ImageFeatures:
    """Features of uint8 images (N, 3, H, W)."""
    return ImageFeatures(images.cpu(), *extractor(images))


def with_noise(images: torch.Tensor) -> torch.Tensor:
    """uint8 images with Gaussian noise of the standard deviation `NOISE`; an image has the same at every call."""
    draws = [make_generator("cpu", 0, "noise", key) for key in keys_of(images)]
    noise = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws]) * (NOISE * 255 / 2)
    return (images.cpu() + noise).round().clamp(0, 255).to(torch.uint8).to(images.device)


VARIANTS = {"": lambda images: images, "mirrored": lambda images: images.flip(-1), "noisy": with_noise}


def side_features(dataset: Dataset, side: str, extractor: FeatureExtractor, variant: str = "") -> ImageFeatures:
    """Features of one side of a data set, or of a variant of its images; kept beside the prepared file.

    An image is measured once, whatever split and part of the groups it is in.
    """
    images = VARIANTS[variant](dataset.side(side).images)
    name = f"features-{images.shape[-1]}-{extractor.key}{'-' if variant else ''}{variant}"
    return real_features(images, extractor, dataset.path.parent / f"{name}.safetensors")


def real_features(images: torch.Tensor, extractor: FeatureExtractor, cache_file: Path) -> ImageFeatures:
    """`image_features` by way of `cache_file`, which then holds those of all these images, and of others.

    The file names `extractor.key`, holds a hash of each image's pixels, and carries a checksum. All are computed again
    where it is another extractor's or damaged. Whoever needs the file at that time waits for it.
    """
    keys = list(map(bytes.fromhex, keys_of(images)))
    with kernel_lock(f"{cache_file}.lock"):
        stored = read_features(cache_file, extractor)
        places = {bytes(key): place for place, key in enumerate(stored["keys"].numpy())} if stored else {}
        missing = {key: number for number, key in enumerate(keys) if key not in places}
        if missing:
            places |= {key: len(places) + number for number, key in enumerate(missing)}
            features, logits = extractor(images[list(missing.values())])
            new = {"keys": torch.tensor(list(map(list, missing)), dtype=torch.uint8), "features": features}
            new |= {} if logits is None else {"logits": logits}
            stored = {name: torch.cat([stored[name], tensor]) if stored else tensor for name, tensor in new.items()}
            write_tensors(cache_file, stored, extractor.key)
    rows = [places[key] for key in keys]
    return ImageFeatures(images.cpu(), stored["features"][rows], stored["logits"][rows] if "logits" in stored else None)


def read_features(cache_file: Path, extractor: FeatureExtractor) -> dict[str, torch.Tensor]:
    """What the file holds of this extractor; a damaged one is set aside."""
    try:
        stored, key = read_tensors(cache_file)
    except FileNotFoundError:
        return {}
    except Damaged:
        warn_and_set_aside(cache_file, "the features are computed again")
        return {}
    return stored if key == extractor.key else {}


def keys_of(images: torch.Tensor) -> list[str]:
    """SHA-256 of each image's pixels."""
    return [hashlib.sha256(image).hexdigest() for image in images.cpu().contiguous().numpy()]
