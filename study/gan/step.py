"""One epoch of WGAN-GP training (Gulrajani et al. 2017, algorithm 1), and the networks and optimisers it changes."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from data_utils.augment import to_float
from data_utils.dataset import Side
from models.augmentation import NUM_PARAMETERS, adapted, diff_augment
from models.batch_norm import synchronise_batch_norm
from models.objectives import critic_loss, generator_loss, overfitting, scores_of_both
from models.systems.principal import PrincipalGenerator
from study.config import GanConfig
from study.gan.networks import new_critic, new_generator
from study.training.precision import autocast
from study.training.seeds import derive_seed, make_generator
from study.training.workers import average_gradients, mean_over_workers, share

STORED = ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser")
ADAPTATION_INTERVAL = 4  # critic steps between two changes of an adaptive augmentation (Karras et al. 2020b, section 3)


@dataclass(frozen=True)
class Batch:
    """This worker's share of what one step of the critic sees."""

    real: Tensor  # float32 (B, 3, S, S) in [-1, 1]
    labels: Tensor  # int64 (B,)
    z: Tensor  # (B, z_dim)
    epsilon: Tensor  # (B, 1, 1, 1) in [0, 1]


@dataclass
class GanTraining:
    """The networks and optimisers of a training, and how they are stored."""

    config: GanConfig
    generator: nn.Module
    critic: nn.Module
    ema: nn.Module
    generator_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    augmentation: Tensor  # (): share of the critic's images; changed in place, so that a CUDA graph sees it
    micro_batches: int = 1  # > 1: the critic sees a batch in that many pieces; less memory, same gradients
    backend: str = "eager"  # see study.gan.backend

    def fit(self, train: Side) -> None:
        """Let a generator that starts from the training images see them."""
        if isinstance(self.generator, PrincipalGenerator):
            self.generator.fit(to_float(train.images), train.labels)
            self.ema.load_state_dict(self.generator.state_dict())

    def run_epoch(self, train: Side, epoch: int) -> dict[str, float]:
        """One pass of the critic over the real images; returns the mean losses by name, and the last augmentation."""
        config, device = self.config, train.images.device
        draws = make_generator(device, config.seed, "gan", epoch)
        steps = self.steps_in_epoch(train)
        order = torch.randperm(len(train.labels), generator=draws, device=device)
        critic_parts, generator_losses = [], []
        for numbers in rounds((epoch - 1) * steps, epoch * steps, config.critic_steps):
            batches = [draw_batch(config, train, order, number % steps, draws) for number in numbers]
            fakes = self.synthesise(batches)
            batches, fakes = self.augment(batches, fakes, draws)
            for number, batch, fake in zip(numbers, batches, fakes, strict=True):
                with_penalty = number % config.penalty_interval == 0
                epsilon = batch.epsilon if with_penalty else None
                critic_parts.append(self.critic_step(batch.real, fake, batch.labels, epsilon))
                if self.config.augmentation_target and number % ADAPTATION_INTERVAL == 0:
                    self.adapt_augmentation(batch.real, fake, batch.labels)
            if numbers.stop % config.critic_steps == 0:
                z = share(torch.randn(config.gan_batch_size, config.z_dim, generator=draws, device=device))
                augmentation = self.draw_augmentation(draws)
                generator_losses.append(self.generator_step(batches[-1].labels, z, batches[-1].real, augmentation))
                self.update_ema(numbers.stop // config.critic_steps)
        no_step = torch.full((1,), float("nan"), device=device)  # an epoch shorter than critic_steps may hold none
        generator_mean = torch.stack(generator_losses).mean(0, keepdim=True) if generator_losses else no_step
        means = mean_over_workers(torch.cat([torch.stack(critic_parts).mean(0), generator_mean]))
        losses = dict(zip(("critic_loss", "wasserstein", "penalty", "generator_loss"), means.tolist(), strict=True))
        return losses | {"augmentation": self.augmentation.item()}

    def steps_in_epoch(self, train: Side) -> int:
        """Of the critic."""
        return len(train.labels) // self.config.gan_batch_size

    @torch.no_grad()
    def synthesise(self, batches: list[Batch]) -> list[Tensor]:
        """Synthetic images for each batch, in the real images' dtype; the generator must not change in between."""
        z, labels = torch.cat([b.z for b in batches]), torch.cat([b.labels for b in batches])
        with autocast(self.config, z.device):
            return [fake.to(batches[0].real.dtype) for fake in self.generator.forward_batches(z, labels, len(batches))]

    def draw_augmentation(self, draws: torch.Generator) -> Tensor | None:
        """This worker's share of the random numbers of `diff_augment` for a batch; None where nothing is augmented."""
        if not self.config.augments:
            return None
        return share(torch.rand(self.config.gan_batch_size, NUM_PARAMETERS, generator=draws, device=draws.device))

    def augment(
        self, batches: list[Batch], fakes: list[Tensor], draws: torch.Generator
    ) -> tuple[list[Batch], list[Tensor]]:
        """The images as the critic gets them. Augmented here, so that it is penalised at what it sees."""
        if not self.config.augments:
            return batches, fakes

        def augmented(images: Tensor) -> Tensor:
            return diff_augment(images, self.draw_augmentation(draws), self.augmentation)

        return [replace(batch, real=augmented(batch.real)) for batch in batches], [augmented(fake) for fake in fakes]

    @torch.no_grad()
    def adapt_augmentation(self, real: Tensor, fake: Tensor, labels: Tensor) -> None:
        """Move the share of augmented images by how sure the critic is of these, as it has seen them."""
        pieces = zip(*(tensor.chunk(self.micro_batches) for tensor in (real, fake, labels)), strict=True)
        with autocast(self.config, real.device):
            scores = [torch.stack(scores_of_both(self.critic, *piece)) for piece in pieces]
        found = mean_over_workers(overfitting(*torch.cat(scores, dim=1), self.config.gan_objective))
        images = ADAPTATION_INTERVAL * self.config.gan_batch_size
        self.augmentation.copy_(adapted(self.augmentation, found, self.config.augmentation_target, images))

    def critic_step(self, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor | None) -> Tensor:
        """One update of the critic; returns (critic loss, wasserstein, penalty). The penalty needs `epsilon`."""
        self.critic_optimiser.zero_grad(set_to_none=True)
        pieces = [tensor.chunk(self.micro_batches) for tensor in (real, fake, labels)]
        epsilons = epsilon.chunk(self.micro_batches) if epsilon is not None else [None] * len(pieces[0])
        total = 0.0
        for *images_and_labels, mixing in zip(*pieces, epsilons, strict=True):
            of_batch = len(images_and_labels[0]) / len(real)
            parts = self.critic_objective(*images_and_labels, mixing) * of_batch
            parts[0].backward()
            total = total + parts.detach()
        average_gradients(self.critic.parameters())
        self.critic_optimiser.step()
        if self.config.weight_clip:  # Arjovsky et al. 2017, algorithm 1
            with torch.no_grad():
                for weights in self.critic.parameters():
                    weights.clamp_(-self.config.weight_clip, self.config.weight_clip)
        return total

    def critic_objective(self, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor | None) -> Tensor:
        """Float32 tensor (3,): critic loss, wasserstein, penalty; only the loss has a gradient."""
        # A lazy penalty is scaled up to keep its mean weight (Karras et al. 2020, appendix B).
        weight = self.config.penalty_weight * self.config.penalty_interval
        with autocast(self.config, real.device):
            parts = critic_loss(
                self.critic, real, fake, labels, weight, epsilon, self.critic.input_gradient,
                objective=self.config.gan_objective, penalty=self.config.penalty,
            )  # fmt: skip
        return torch.stack(parts).float()

    def generator_step(self, labels: Tensor, z: Tensor, real: Tensor, augmentation: Tensor | None = None) -> Tensor:
        """One update of the generator; returns the loss. `real` are images of the same labels, augmented already."""
        self.critic.requires_grad_(False)  # its weights' gradients are not needed
        with autocast(self.config, z.device):
            fake = self.generator(z, labels)
        if augmentation is not None:
            fake = diff_augment(fake, augmentation, self.augmentation)
        images, total = fake.detach().requires_grad_(), 0.0
        for piece in zip(*(tensor.chunk(self.micro_batches) for tensor in (images, labels, real)), strict=True):
            with autocast(self.config, z.device):
                loss = generator_loss(self.critic, *piece, self.config.gan_objective) * (len(piece[0]) / len(images))
            loss.backward()
            total = total + loss.detach().float()
        self.generator_optimiser.zero_grad(set_to_none=True)
        fake.backward(images.grad)
        self.critic.requires_grad_(True)
        average_gradients(self.generator.parameters())
        self.generator_optimiser.step()
        return total

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        """Move the averaged weights towards the generator's, and copy batch norm's running statistics.

        The decay rises to `ema_decay` with `step` (1, 2, ...), so that the initial weights are soon forgotten.
        """
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - decay)
        for mean, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            mean.copy_(value)

    def state(self, epoch: int, history: list[dict], seconds: float) -> dict:
        """Everything needed to continue; random numbers are derived from the epoch (see `study.training.seeds`)."""
        progress = {"epoch": epoch, "history": history, "seconds": seconds, "step_backend": self.backend}
        progress["augmentation"] = self.augmentation
        return progress | {name: getattr(self, name).state_dict() for name in STORED}

    def load(self, state: dict) -> list[dict]:
        """Restore what `state` stored; returns its history."""
        for name in STORED:
            getattr(self, name).load_state_dict(state[name])
        self.augmentation.copy_(state["augmentation"])
        for optimiser in (self.generator_optimiser, self.critic_optimiser):
            for group in optimiser.param_groups:  # another kind of device may have stored it
                group["capturable"] = optimiser.defaults["capturable"]
        return list(state["history"])


def rounds(first: int, end: int, critic_steps: int) -> Iterator[range]:
    """The critic's steps first ... end - 1, divided where a generator step follows."""
    while first < end:
        stop = min(first - first % critic_steps + critic_steps, end)
        yield range(first, stop)
        first = stop


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


def build_training(config: GanConfig, device: torch.device) -> GanTraining:
    """New networks and optimisers, the same on every worker."""
    torch.manual_seed(derive_seed(config.seed, "gan", "initial weights"))
    generator = synchronise_batch_norm(new_generator(config)).to(device, memory_format=torch.channels_last)
    critic = synchronise_batch_norm(new_critic(config)).to(device, memory_format=torch.channels_last)
    capturable = device.type == "cuda"  # keeps the step count on the GPU, as a CUDA graph needs it
    optimiser = {
        "adam": partial(torch.optim.Adam, betas=(config.adam_beta1, config.adam_beta2), fused=True),
        "rmsprop": torch.optim.RMSprop,
    }[config.optimiser]
    return GanTraining(
        config=config,
        generator=generator,
        critic=critic,
        ema=copy.deepcopy(generator).to(device).requires_grad_(False).eval(),
        generator_optimiser=optimiser(generator.parameters(), lr=config.generator_lr, capturable=capturable),
        critic_optimiser=optimiser(critic.parameters(), lr=config.critic_lr, capturable=capturable),
        augmentation=torch.tensor(config.critic_augmentation, device=device),
    )
