"""The package `lightweight-gan`, trained for a given time by its own Trainer in an environment of its own.

python -m benchmarks.competitors.lightweight_gan_process FOLDER --seconds S --images N [--device cuda]

Settings are its Trainer's own, with batches of 16; the attention that its command line adds is left out, which on a CPU
takes most of the time. It asks for CUDA wherever it puts a tensor; with --device cpu those calls are answered with the
CPU, and its own code is left as it is. The pictures and checkpoints that it writes in between are left out, and so out
of the time. Its moving average starts after 20,000 steps: images come from the generator itself.
"""

import argparse
import contextlib
import importlib
import types
from collections.abc import Iterator
from unittest import mock

import numpy as np
import torch

from benchmarks.harness.timed_training import PIXELS, peer_parser, train_for

BATCH = 16


class CpuTorch(types.ModuleType):
    """torch, with the CPU for every device."""

    def __getattr__(self, name: str):
        return getattr(torch, name)

    @staticmethod
    def device(*_) -> torch.device:
        return torch.device("cpu")


@contextlib.contextmanager
def cuda_means_cpu() -> Iterator[None]:
    """Within it CUDA says that it is there, and what is sent to it stays where it is."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_: tensor))
        patches.enter_context(mock.patch.object(torch.nn.Module, "cuda", lambda module, *_: module))
        with mock.patch.object(torch.cuda, "is_available", lambda: True):
            package = importlib.import_module("lightweight_gan.lightweight_gan")
        patches.enter_context(mock.patch.object(package, "torch", CpuTorch("torch")))
        yield


def train(options: argparse.Namespace, image_size: int) -> None:
    package = importlib.import_module("lightweight_gan.lightweight_gan")
    folder = options.folder / "lightweight_gan"
    trainer = package.Trainer(
        base_dir=folder, image_size=image_size, batch_size=BATCH, num_workers=0, use_aim=False
    )
    trainer.set_data_src(options.folder / PIXELS)
    trainer.init_GAN()
    trainer.save = trainer.evaluate = lambda *_, **__: None

    def step() -> int:
        trainer.train()
        return BATCH

    @torch.no_grad()
    def sample() -> np.ndarray:
        trainer.GAN.eval()
        noise = torch.randn(options.images, trainer.latent_dim, device=options.device)
        images = torch.cat([trainer.GAN.G(part).clamp(0, 1) for part in noise.split(32)])
        trainer.GAN.train()
        return (images * 255).round().to(torch.uint8).cpu().numpy()

    train_for(options.seconds, step, sample, folder)


def main() -> None:
    options = peer_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image_size = np.load(options.folder / "images.npy", mmap_mode="r").shape[-1]
    with cuda_means_cpu() if options.device == "cpu" else contextlib.nullcontext():
        train(options, image_size)


if __name__ == "__main__":
    main()
