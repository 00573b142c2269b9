"""A bundle's networks in PyTorch: rebuilt from the config, with the bundle's weights."""

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from data_utils.augment import to_float, to_uint8
from models.classifier import Classifier
from models.generator import GRID, Generator
from models.inference import for_inference
from study.bundle.folder import WEIGHTS, Bundle
from study.config import TrialConfig, make_config
from study.diagnosis.train import new_classifier
from study.errors import ConfigError
from study.gan.networks import new_generator
from study.training.precision import autocast


class LogitsAndFeatures(nn.Module):
    """A classifier that gives logits (B,) and the mean of its feature map (B, C) of images (B, 3, S, S) in [-1, 1]."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        sequence = self.classifier.sequence(images)
        return self.classifier.classify(sequence), sequence.mean(dim=1)


class SingleBatchGenerator(nn.Module):
    """`Generator.forward` without the splitting into batches, which would fix the number of images in an export."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = torch.cat([z, self.generator.class_embedding(labels)], dim=1)
        sequence = self.generator.recurrence(self.generator.tokens(condition))
        return self.generator.decoder(sequence.transpose(1, 2).unflatten(2, (GRID, GRID))).tanh()


def rebuilt_classifier(config: TrialConfig, weights: dict[str, Tensor]) -> LogitsAndFeatures:
    """The trained classifier of a config, in evaluation mode."""
    classifier = new_classifier(config, load_weights=False)
    classifier.load_state_dict(weights)
    return LogitsAndFeatures(classifier).requires_grad_(False).eval()


def rebuilt_generator(config: TrialConfig, weights: dict[str, Tensor]) -> nn.Module:
    """The trained generator of a config, in evaluation mode, its batch norms folded: forward(z, labels) -> images."""
    generator = new_generator(config.model_copy(update={"pretrained": False}))
    generator.load_state_dict(weights)
    folded = for_inference(generator).generator
    return (SingleBatchGenerator(folded) if isinstance(folded, Generator) else folded).eval()


def torch_classifier(bundle: Bundle, engine: str):
    """See `study.bundle.networks.load_classifier`."""
    device, config = engine_device(engine), make_config(bundle.config)
    model = rebuilt_classifier(config, load(bundle.read(WEIGHTS["classifier"]))).to(device)

    @torch.no_grad()
    def classify(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = to_float(torch.from_numpy(images).to(device)).contiguous(memory_format=torch.channels_last)
        with autocast(config, device):
            logits, features = model(batch)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()

    return classify


def torch_generator(bundle: Bundle, engine: str):
    """See `study.bundle.networks.load_generator`."""
    device, config = engine_device(engine), make_config(bundle.config)
    model = rebuilt_generator(config, load(bundle.read(WEIGHTS["generator"]))).to(device)

    @torch.no_grad()
    def generate(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return to_uint8(model(torch.from_numpy(z).to(device), torch.from_numpy(labels).to(device))).cpu().numpy()

    return generate


def engine_device(engine: str) -> torch.device:
    """The device of `torch` or `cuda`; ConfigError where there is no GPU."""
    if engine == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--engine cuda: PyTorch finds no GPU here; use --engine onnx or --engine torch")
    return torch.device("cuda" if engine == "cuda" else "cpu")
