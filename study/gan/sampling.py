"""Synthetic images from a generator, and how a trained generator is stored."""

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from data_utils.augment import to_uint8
from models.inference import for_inference
from study.config import GanConfig
from study.gan.folder import GanFolder
from study.gan.networks import new_generator
from study.storage.atomic import write_atomically
from study.storage.tensors import read_tensors, write_tensors
from study.training.seeds import make_generator

SAMPLING_BATCH = 64
GRID_ROWS, GRID_COLUMNS = 2, 8  # of `samples.png`: one row a class


def save_generator(generator: nn.Module, folder: GanFolder) -> None:
    """Store the weights of a trained generator."""
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    write_tensors(folder.generator, weights, "EMA generator")


def load_generator(config: GanConfig, folder: GanFolder, device: torch.device) -> nn.Module:
    """The trained EMA generator of a GAN, ready to sample. Raises FileNotFoundError and `study.errors.Damaged`."""
    generator = new_generator(config.model_copy(update={"pretrained": False}))
    generator.load_state_dict(read_tensors(folder.generator)[0])
    return generator.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()


@torch.no_grad()
def sample_images(generator: nn.Module, labels: Tensor, config: GanConfig, purpose: str) -> Tensor:
    """Synthetic images uint8 (N, 3, S, S) of the classes `labels` (N,); equal arguments give equal images."""
    draws = make_generator(labels.device, config.seed, "sample", purpose)
    sampler = for_inference(generator, torch.bfloat16 if config.precision == "bfloat16" else torch.float32)

    def images(labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), config.z_dim, generator=draws, device=labels.device)
        return to_uint8(sampler(z, labels))

    return torch.cat([images(batch) for batch in labels.split(SAMPLING_BATCH)])


def grid_images(generator: nn.Module, config: GanConfig, device: torch.device) -> Tensor:
    """The images of `samples.png`: fixed noise, a row of the negative class above a row of the positive class."""
    labels = torch.arange(GRID_ROWS, device=device).repeat_interleave(GRID_COLUMNS)
    return sample_images(generator, labels, config, "grid")


def sample_grid(images: Tensor, path: Path, columns: int) -> None:
    """Write synthetic images uint8 (N, 3, H, W) as one PNG, row by row."""
    grid = make_grid(images.cpu(), nrow=columns, padding=2)  # 3 x H x W
    png = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy()).save(png, format="PNG")
    write_atomically(path, png.getvalue())
