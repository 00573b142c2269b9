"""Images with their features, and a cache of the real images' features beside the prepared data."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor
from study.errors import Damaged
from study.storage.sealed import warn_and_set_aside
from study.storage.tensors import read_tensors, write_tensors

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
    """uint8 images with Gaussian noise of the standard deviation `NOISE`, the same at every call."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * (NOISE * 255 / 2)
    return (images.cpu() + noise).round().clamp(0, 255).to(torch.uint8).to(images.device)


VARIANTS = {"": lambda images: images, "mirrored": lambda images: images.flip(-1), "noisy": with_noise}


def side_features(
    dataset: Dataset, side: str, extractor: FeatureExtractor, part: str = "", variant: str = ""
) -> ImageFeatures:
    """Features of one side of a data set, or of a variant of its images; cached beside the prepared file.

    `part` is the config's `training_part` where `dataset` holds a part of the training groups only.
    """
    images = dataset.side(side).images
    name = f"{side}-{variant}" if variant else side
    part = part if side == "train" else ""  # the other sides are the same for all parts
    content = f"{dataset.fingerprint}-{images.shape[-1]}-{extractor.key}-{name}{part}"
    cache_file = dataset.path.parent / f"features-{content}.safetensors"
    return real_features(VARIANTS[variant](images), extractor, cache_file)


def real_features(images: torch.Tensor, extractor: FeatureExtractor, cache_file: Path) -> ImageFeatures:
    """`image_features`, read from `cache_file` if that holds the features of these images by this extractor.

    The file names its content (pixels and `extractor.key`) and carries a checksum. Features are computed and stored
    again where the content differs or the file is damaged. Whoever needs the same features at that time waits for them.
    """
    content = hashlib.sha256(images.cpu().contiguous().numpy()).hexdigest() + extractor.key
    with FileLock(f"{cache_file}.lock"):
        try:
            stored, stored_content = read_tensors(cache_file)
            if stored_content == content:
                return ImageFeatures(images.cpu(), stored["features"], stored.get("logits"))
        except FileNotFoundError:
            pass
        except Damaged:
            warn_and_set_aside(cache_file, "the features are computed again")
        computed = image_features(images, extractor)
        tensors = {"features": computed.features, "logits": computed.logits}
        write_tensors(cache_file, {name: tensor for name, tensor in tensors.items() if tensor is not None}, content)
        return computed
