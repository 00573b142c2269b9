"""Images with their features, and a cache of the real images' features beside the prepared data."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor
from study.errors import Damaged
from study.storage.sealed import warn_and_set_aside
from study.storage.tensors import read_tensors, write_tensors


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


def side_features(
    dataset: Dataset, side: str, extractor: FeatureExtractor, part: str = "", mirrored: bool = False
) -> ImageFeatures:
    """Features of one side of a data set, or of its mirrored images; cached beside the prepared file.

    `part` is the config's `training_part` where `dataset` holds a part of the training groups only.
    """
    images = dataset.side(side).images
    name = f"{side}-mirrored" if mirrored else side
    part = part if side == "train" else ""  # the other sides are the same for all parts
    content = f"{dataset.fingerprint}-{images.shape[-1]}-{extractor.key}-{name}{part}"
    cache_file = dataset.path.parent / f"features-{content}.safetensors"
    return real_features(images.flip(-1) if mirrored else images, extractor, cache_file)


def real_features(images: torch.Tensor, extractor: FeatureExtractor, cache_file: Path) -> ImageFeatures:
    """`image_features`, read from `cache_file` if that holds the features of these images by this extractor.

    The file names its content (pixels and `extractor.key`) and carries a checksum. Features are computed and stored
    again where the content differs or the file is damaged.
    """
    content = hashlib.sha256(images.cpu().contiguous().numpy()).hexdigest() + extractor.key
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
