"""One peer of `benchmarks/peers.py` that is written with this project's packages, trained in a process of its own.

python -m benchmarks.peer_process NAME FOLDER --seconds S --images N
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.dcgan import BATCH, LATENT, Dcgan
from benchmarks.timed_training import train_for
from benchmarks.tutorial import build_tutorial
from data_utils.augment import to_float, to_uint8
from data_utils.dataset import Side
from study.config import GanConfig, make_config, parse_assignments, preset
from study.gan_training import build_training
from study.sampling import evenly_drawn, sample_images

Peer = tuple[Callable[[], int], Callable[[], Tensor]]  # step, sample


def ours(train: Side, count: int, settings: dict) -> Peer:
    """The study's training at the `search` preset; a step is an epoch."""
    config = make_config(preset("search") | settings)
    training, epochs = build_training(config, train.images.device), iter(range(1, 10**9))
    labels = evenly_drawn(train.labels, count)

    def step() -> int:
        training.run_epoch(train, next(epochs))
        return len(train.labels) // config.gan_batch_size * config.gan_batch_size

    return step, lambda: sample_images(training.ema, labels, config, "evaluation")


def tutorial(train: Side, count: int, settings: dict) -> Peer:
    """The paper's settings in a tutorial's loop; a step is `critic_steps` critic steps and one generator step."""
    config = make_config(preset("paper") | {"image_size": train.images.shape[-1], "precision": "float32"} | settings)
    networks, labels = build_tutorial(config, train.images.device), evenly_drawn(train.labels, count)

    def step() -> int:
        for _ in range(config.critic_steps):
            rows = torch.randint(len(train.labels), (config.gan_batch_size,), device=train.labels.device)
            noise = latent(config, len(rows), train), torch.rand(len(rows), 1, 1, 1, device=rows.device)
            networks.critic_step(to_float(train.images[rows]), train.labels[rows], *noise)
        networks.generator_step(train.labels[rows], latent(config, len(rows), train))
        return config.critic_steps * len(rows)

    def sample() -> Tensor:
        networks.generator.eval()
        images = sample_images(networks.generator, labels, config, "evaluation")
        networks.generator.train()
        return images

    return step, sample


def latent(config: GanConfig, count: int, train: Side) -> Tensor:
    return torch.randn(count, config.latent_dim, device=train.images.device)


def dcgan(train: Side, count: int, settings: dict) -> Peer:
    """Radford et al. (2016); a step is one update of each network."""
    widths = {name: int(value) for name, value in settings.items()}
    gan, batch = Dcgan(train.images.device, **widths), min(BATCH, len(train.labels))

    def step() -> int:
        rows = torch.randint(len(train.labels), (batch,), device=train.labels.device)
        gan.step(to_float(train.images[rows]))
        return batch

    @torch.no_grad()
    def sample() -> Tensor:
        gan.generator.eval()
        noise = torch.randn(count, LATENT, 1, 1, device=train.images.device)
        images = torch.cat([to_uint8(gan.generator(part)) for part in noise.split(BATCH)])
        gan.generator.train()
        return images

    return step, sample


PEERS = {"ours": ours, "tutorial": tutorial, "dcgan": dcgan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("folder", type=Path, help="holds images.npy and labels.npy; the results go into NAME/ there")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(np.load(options.folder / f"{name}.npy")) for name in ("images", "labels"))
    train = Side(images.to(options.device), labels.to(options.device), None, None)
    step, sample = PEERS[options.name](train, options.images, parse_assignments(options.set))
    train_for(options.seconds, step, lambda: sample().cpu().numpy(), options.folder / options.name)


if __name__ == "__main__":
    main()
