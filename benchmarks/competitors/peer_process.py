"""One peer of `benchmarks/peers.py` that is written with this project's packages, trained in a process of its own.

python -m benchmarks.competitors.peer_process FOLDER NAME --seconds S --images N
"""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.competitors.dcgan import BATCH, LATENT, Dcgan
from benchmarks.competitors.tutorial import build_tutorial
from benchmarks.harness.timed_training import peer_parser, train_for
from data_utils.augment import to_float, to_uint8
from data_utils.dataset import Side, evenly_drawn
from study.config import SYSTEMS, make_config, parse_assignments, preset
from study.gan.sampling import sample_images
from study.gan.step import GanTraining, build_training

Peer = tuple[Callable[[], int], Callable[[], Tensor]]  # step, sample


def ours(train: Side, count: int, settings: dict, system: str | None = None) -> Peer:
    """The study's training at the `search` preset, the paper's WGAN-GP or a row of `SYSTEMS`; a step is an epoch."""
    config = make_config(preset("search") | SYSTEMS.get(system, {}) | settings)
    training, labels = build_training(config, train.images.device), evenly_drawn(train.labels, count)
    training.fit(train)
    return epochs(training, train), lambda: sample_images(training.ema, labels, config, "evaluation")


def tutorial(train: Side, count: int, settings: dict) -> Peer:
    """The paper's settings in a tutorial's loop, without a mean of the weights; a step is an epoch."""
    config = make_config(preset("paper") | {"image_size": train.images.shape[-1], "precision": "float32"} | settings)
    training, labels = build_tutorial(config, train.images.device), evenly_drawn(train.labels, count)

    def sample() -> Tensor:
        training.generator.eval()
        images = sample_images(training.generator, labels, config, "evaluation")
        training.generator.train()
        return images

    return epochs(training, train), sample


def epochs(training: GanTraining, train: Side) -> Callable[[], int]:
    """Trains an epoch at each call; returns the number of real images it saw."""
    numbers, batch_size = itertools.count(1), training.config.gan_batch_size

    def step() -> int:
        training.run_epoch(train, next(numbers))
        return len(train.labels) // batch_size * batch_size

    return step


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


TRAINED = [name for name, fields in SYSTEMS.items() if fields.get("gan_epochs") != 0]
OURS = {"ours": ours} | {name: partial(ours, system=name) for name in TRAINED}
PEERS = OURS | {"tutorial": tutorial, "dcgan": dcgan}


def main() -> None:
    parser = peer_parser(__doc__)
    parser.add_argument("name", choices=PEERS, help="the results go into a folder of this name")
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
