"""What every training of a generator holds: networks, optimisers, the moving average, and how they are stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from data_utils.augment import to_float
from data_utils.dataset import Side
from models.systems.principal import PrincipalGenerator
from study.config import GanConfig
from study.training.seeds import make_generator
from study.training.workers import share

UNLABELLED = "unlabelled"  # group and id of an image that is shown without its label


@dataclass(frozen=True)
class Batch:
    """This worker's share of what one step sees."""

    real: Tensor  # float32 (B, 3, S, S) in [-1, 1]
    labels: Tensor  # int64 (B,)
    z: Tensor  # (B, z_dim)
    epsilon: Tensor  # (B, 1, 1, 1) in [0, 1]


@dataclass(kw_only=True)
class Training:
    """A generator, its moving average and its optimiser. A kind of training adds `run_epoch` and its costs.

    Each network of `trained` is a field, and its optimiser another: `generator` and `generator_optimiser`. Its update
    is a method that takes tensors alone, `generator_step`, which `study.gan.backend` may run as a CUDA graph.
    """

    trained: ClassVar[tuple[str, ...]] = ("generator",)

    config: GanConfig
    generator: nn.Module
    ema: nn.Module
    generator_optimiser: torch.optim.Optimizer
    micro_batches: int = 1  # > 1: the networks see a batch in that many pieces; less memory, same gradients
    backend: str = "eager"  # see study.gan.backend
    evaluation_seconds: float = 0.0  # that measuring has taken so far
    pretraining_epochs: int = 0  # of those so far, the first ones, which have shown images without labels

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by name."""
        return {name: getattr(self, name) for name in self.trained}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Their optimisers by name."""
        return {f"{name}_optimiser": getattr(self, f"{name}_optimiser") for name in self.trained}

    def fit(self, train: Side) -> None:
        """Let a generator that starts from the training images see them."""
        if isinstance(self.generator, PrincipalGenerator):
            self.generator.fit(to_float(train.images), train.labels)
            self.ema.load_state_dict(self.generator.state_dict())

    def run_epoch(self, train: Side, epoch: int) -> dict[str, float]:
        """One pass over the real images; returns the epoch's mean losses by name."""
        raise NotImplementedError

    def step(self, network: str, batch: Batch) -> Tensor:
        """One update of this network of `trained`; returns its losses."""
        raise NotImplementedError

    def reference_losses(self, batch: Batch) -> Iterator[Tensor]:
        """The loss of the last network of `trained`, for the gradient of plain autograd: a summand for each piece that
        a step takes at once."""
        raise NotImplementedError

    def step_bytes(self, batch: Batch) -> int:
        """Bytes, besides weights, that the largest step on a batch of the meta device takes."""
        raise NotImplementedError

    @staticmethod
    def forward_passes(config: GanConfig) -> tuple[float, float]:
        """What a real image costs, in forward passes of the generator and of the critic."""
        raise NotImplementedError

    def steps_in_epoch(self, train: Side) -> int:
        """Batches of real images."""
        return len(train.labels) // self.config.gan_batch_size

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        """Move the averaged weights towards the generator's, and copy batch norm's running statistics.

        The decay rises to `ema_decay` with `step` (1, 2, ...), so that the initial weights are soon forgotten.
        """
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - decay)
        for mean, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            mean.copy_(value)

    def stored(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds, by name."""
        return {**self.networks, "ema": self.ema, **self.optimisers}

    def state(self, epoch: int, history: list[dict], seconds: float) -> dict:
        """Everything needed to continue; random numbers are derived from the epoch (see `study.training.seeds`)."""
        progress = {"epoch": epoch, "history": history, "seconds": seconds, "step_backend": self.backend}
        progress |= {name: getattr(self, name) for name in ("pretraining_epochs", "evaluation_seconds")}
        return progress | {name: part.state_dict() for name, part in self.stored().items()}

    def load(self, state: dict) -> list[dict]:
        """Restore what `state` stored; returns its history."""
        self.pretraining_epochs = state["pretraining_epochs"]
        self.evaluation_seconds = state.get("evaluation_seconds", 0.0)  # not in checkpoints of earlier versions
        for name, part in self.stored().items():
            part.load_state_dict(state[name])
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:  # another kind of device may have stored it
                group["capturable"] = optimiser.defaults["capturable"]
        return list(state["history"])


def without_labels(config: GanConfig, images: Tensor, part: Side, epoch: int) -> Side:
    """What an epoch (1, 2, ...) of the pretraining shows: as many of the training images uint8 (M, 3, S, S) as the
    labelled `part` holds, so that it costs what an epoch of the part does.

    The epochs go through all images in a shuffled order, each once before any comes again. Their labels are those of
    the part in an order that is drawn anew for each epoch: both classes learn what all images look like, and no other
    label is read.
    """
    device, count = images.device, len(part.labels)

    def order(size: int, *purpose: str | int) -> Tensor:
        draws = make_generator(device, config.seed, "gan", UNLABELLED, *purpose)
        return torch.randperm(size, generator=draws, device=device)

    passes, first = divmod((epoch - 1) * count, len(images))
    shuffled = torch.cat([order(len(images), "pass", number) for number in (passes, passes + 1)])
    names = np.full(count, UNLABELLED)
    labels = part.labels[order(count, "labels", epoch)]
    return Side(images[shuffled[first : first + count]], labels, names, names)


def draw_batch(config: GanConfig, train: Side, order: Tensor, step: int, draws: torch.Generator) -> Batch:
    """This worker's share of batch number `step` of an epoch."""
    device, batch_size = train.images.device, config.gan_batch_size
    rows = order[step * batch_size : (step + 1) * batch_size]
    z = torch.randn(batch_size, config.z_dim, generator=draws, device=device)
    epsilon = torch.rand(batch_size, 1, 1, 1, generator=draws, device=device)
    mirrored = torch.rand(batch_size, 1, 1, 1, generator=draws, device=device) < 0.5
    rows, z, epsilon, mirrored = map(share, (rows, z, epsilon, mirrored))
    real = to_float(train.images[rows]).contiguous(memory_format=torch.channels_last)
    if config.gan_flip:
        real = torch.where(mirrored, real.flip(-1), real)
    return Batch(real, train.labels[rows], z, epsilon)
