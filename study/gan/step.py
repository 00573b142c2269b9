"""One epoch of WGAN-GP training (Gulrajani et al. 2017, algorithm 1), and the networks and optimisers it changes."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from data_utils.dataset import Side
from models.augmentation import NUM_PARAMETERS, adapted, diff_augment
from models.batch_norm import synchronise_batch_norm
from models.objectives import critic_loss, generator_loss, overfitting, scores_of_both
from study.config import GanConfig
from study.gan.flow import FlowTraining
from study.gan.networks import new_critic, new_generator
from study.gan.training import Batch, Training, draw_batch
from study.training.memory import kept_bytes
from study.training.precision import autocast
from study.training.seeds import derive_seed, make_generator
from study.training.workers import average_gradients, mean_over_workers, share

NEW = {"generator": new_generator, "critic": new_critic}
ADAPTATION_INTERVAL = 4  # critic steps between two changes of an adaptive augmentation (Karras et al. 2020b, section 3)


@dataclass(kw_only=True)
class GanTraining(Training):
    """A generator against a critic, with the critic's optimiser."""

    trained: ClassVar[tuple[str, ...]] = ("generator", "critic")

    critic: nn.Module
    critic_optimiser: torch.optim.Optimizer
    augmentation: Tensor = field(init=False)  # (): share of the critic's images; in place, so that CUDA graphs see it

    def __post_init__(self):
        device = next(self.critic.parameters()).device
        self.augmentation = torch.tensor(self.config.critic_augmentation, device=device)

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
        losses = dict(zip(("critic_loss", "wasserstein", "penalty"), torch.stack(critic_parts).mean(0), strict=True))
        penalties = sum(number % config.penalty_interval == 0 for number in range((epoch - 1) * steps, epoch * steps))
        losses["penalty"] *= steps / max(1, penalties)  # the mean of the steps that have one
        if generator_losses:  # an epoch shorter than critic_steps may hold none
            losses["generator_loss"] = torch.stack(generator_losses).mean()
        means = mean_over_workers(torch.stack(list(losses.values())))
        return dict(zip(losses, means.tolist(), strict=True)) | {"augmentation": self.augmentation.item()}

    @torch.no_grad()
    def synthesise(self, batches: list[Batch]) -> list[Tensor]:
        """Synthetic images for each batch, in the real images' dtype; the generator must not change in between."""
        z, labels, real = (torch.cat([getattr(b, part) for b in batches]) for part in ("z", "labels", "real"))
        return [fake.to(real.dtype) for fake in self.generate(z, labels, real, len(batches))]

    def generate(self, z: Tensor, labels: Tensor, real: Tensor, batches: int = 1) -> list[Tensor]:
        """Synthetic images as the critic takes them, for batches that follow each other in z, labels and real images.

        Here `real` is not looked at.
        """
        with autocast(self.config, z.device):
            return self.generator.forward_batches(z, labels, batches)

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
        (fake,) = self.generate(z, labels, real)
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

    def step(self, network: str, batch: Batch) -> Tensor:
        """Of the generator, or of the critic with a penalty."""
        if network == "generator":
            augmentation = self.draw_augmentation(torch.Generator(batch.real.device))
            return self.generator_step(batch.labels, batch.z, batch.real, augmentation)
        return self.critic_step(batch.real, *self.synthesise([batch]), batch.labels, batch.epsilon)

    def reference_losses(self, batch: Batch) -> Iterator[Tensor]:
        """Critic loss and penalty without the critic's own input gradient."""
        config, (fake,) = self.config, copy.deepcopy(self).synthesise([batch])  # which changes running statistics
        weight = config.penalty_weight * config.penalty_interval
        inputs = (batch.real, fake, batch.labels, batch.epsilon)
        for real, *others, epsilon in zip(*(tensor.chunk(self.micro_batches) for tensor in inputs), strict=True):
            with autocast(config, real.device):
                loss, *_ = critic_loss(
                    self.critic, real, *others, weight, epsilon,
                    objective=config.gan_objective, penalty=config.penalty,
                )  # fmt: skip
            yield loss * (len(real) / len(batch.real))

    def step_bytes(self, batch: Batch) -> int:
        """Of a round's synthetic images, and of what the larger of both steps keeps for its backward pass."""
        fakes = []
        generator = kept_bytes(lambda: fakes.extend(self.generate(batch.z, batch.labels, batch.real)))
        fake = fakes[0].detach()
        critic = kept_bytes(lambda: self.critic_objective(batch.real, fake, batch.labels, batch.epsilon))
        through_critic = kept_bytes(lambda: self.critic(fake.requires_grad_(), batch.labels))
        return self.config.critic_steps * fake.nbytes + max(critic, generator + through_critic)

    @staticmethod
    def forward_passes(config: GanConfig) -> tuple[float, float]:
        """A critic step costs the generator's forward pass and 10 of the critic; a generator step 3 and 2.

        Of the critic's, forward and backward for real and fake are 6; forward, input gradient and its backward for the
        penalty are 4.
        """
        return 1 + 3 / config.critic_steps, 10 + 2 / config.critic_steps

    def state(self, epoch: int, history: list[dict], seconds: float) -> dict:
        """With the share of augmented images."""
        return super().state(epoch, history, seconds) | {"augmentation": self.augmentation}

    def load(self, state: dict) -> list[dict]:
        """The share of augmented images, too."""
        self.augmentation.copy_(state["augmentation"])
        return super().load(state)


class PyramidTraining(GanTraining):
    """Each level of a pyramid by itself: the critic sees what is made for real images beside these."""

    def generate(self, z: Tensor, labels: Tensor, real: Tensor, batches: int = 1) -> list[Tensor]:
        """Images (B, 6, S, S): the sum of all levels' residuals, and the real images."""
        with autocast(self.config, z.device):
            images = self.generator(z, labels, real)
        return list(torch.cat([images, real], dim=1).chunk(batches))


KINDS: dict[str, type[Training]] = {"flow": FlowTraining, "laplacian": PyramidTraining}  # by generator


def rounds(first: int, end: int, critic_steps: int) -> Iterator[range]:
    """The critic's steps first ... end - 1, divided where a generator step follows."""
    while first < end:
        stop = min(first - first % critic_steps + critic_steps, end)
        yield range(first, stop)
        first = stop


def training_class(config: GanConfig) -> type[Training]:
    """The kind of training that the generator asks for."""
    return KINDS.get(config.generator, GanTraining)


def build_training(config: GanConfig, device: torch.device) -> Training:
    """New networks and optimisers, the same on every worker."""
    torch.manual_seed(derive_seed(config.seed, "gan", "initial weights"))
    kind = training_class(config)
    networks = {
        name: synchronise_batch_norm(NEW[name](config)).to(device, memory_format=torch.channels_last)
        for name in kind.trained
    }
    capturable = device.type == "cuda"  # keeps the step count on the GPU, as a CUDA graph needs it
    optimiser = {
        "adam": partial(torch.optim.Adam, betas=(config.adam_beta1, config.adam_beta2), fused=True),
        "rmsprop": torch.optim.RMSprop,
    }[config.optimiser]
    optimisers = {
        f"{name}_optimiser": optimiser(network.parameters(), lr=getattr(config, f"{name}_lr"), capturable=capturable)
        for name, network in networks.items()
    }
    ema = copy.deepcopy(networks["generator"]).to(device).requires_grad_(False).eval()
    return kind(config=config, ema=ema, **networks, **optimisers)
