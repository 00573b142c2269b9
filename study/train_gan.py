"""WGAN-GP training (Gulrajani et al. 2017, algorithm 1), class-conditional, with an EMA generator.

A plain PyTorch loop: it knows a `report` callable and a folder, and runs with no Ray at all.
"""

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from data_utils.augment import to_float, to_uint8
from data_utils.dataset import Dataset, Side
from models.batch_norm import synchronise_batch_norm
from models.critic import Critic
from models.generator import build_generator, parameter_count
from models.wgan_gp import critic_loss, generator_loss
from study.checkpoint import load_checkpoint, save_checkpoint
from study.config import GanConfig
from study.gan_quality import GanQuality
from study.image_quality import sample_grid
from study.parallel import average_gradients, from_first_worker, is_first_worker, mean_over_workers, share
from study.preemption import any_notice
from study.sealed import read_tensors, write_tensors
from study.seeds import derive_seed, make_generator
from study.training_set import even_places

SAMPLING_BATCH = 64
GRID_ROWS, GRID_COLUMNS = 2, 8  # of the sample grid: one row a class
EXPLODED_LOSS = 1e8
INDISTINCT_SCORES = 1e-7  # a critic that tells nothing apart


class Diverged(RuntimeError):
    """Training has gone wrong in a way that more training does not mend; the message is the trial's reason."""


def train_gan(config: GanConfig, dataset: Dataset, report: Callable[[dict], None], resume_from: Path) -> dict:
    """Train generator and critic; returns the GAN's result columns.

    `resume_from` is the GAN's folder: a checkpoint in it is continued, bit for bit (on the same hardware); at the end
    it holds the EMA generator (`generator.safetensors`) and a grid of synthetic images (`samples.png`). `report` gets
    one dict at each measurement of the Frechet distance on validation, those before a resumption included.

    Raises Diverged when a loss is not finite, or the critic explodes or no longer tells the two sides apart.
    """
    device, train = dataset.images.device, dataset.side("train")
    quality = GanQuality(config, dataset)
    fake_labels = evenly_drawn(dataset.side("validation").labels, config.eval_images)
    training = build_training(config, device)
    state = load_checkpoint(resume_from, device)
    history, epoch = (training.load(state), state["epoch"]) if state else ([], 0)
    for entry in history:
        report(entry)
    seconds = state["seconds"] if state else 0.0

    while epoch < config.gan_epochs:
        started, start = time.perf_counter(), epoch
        end = min(epoch - epoch % config.gan_eval_interval + config.gan_eval_interval, config.gan_epochs)
        while epoch < end:
            epoch += 1
            losses = training.run_epoch(config, train, epoch)
            check_health(losses, epoch)
            if epoch < end and any_notice(device) and is_first_worker():  # the next epoch may not come to its end
                so_far = seconds + time.perf_counter() - started
                save_checkpoint(resume_from, epoch, training.state(epoch, history, so_far))
        interval = time.perf_counter() - started
        seconds += interval

        distance = from_first_worker(
            lambda: quality.frechet_distance(sample_images(training.ema, fake_labels, config, "evaluation"))
        )
        history.append(
            {
                "stage": "gan",
                "epoch": epoch,
                "seconds": seconds,
                **losses,
                "frechet_distance": distance,
                "images_per_second": (epoch - start) * len(train.labels) / interval,
                "num_real": quality.num_real,
                "num_fake": len(fake_labels),
                "feature_extractor": config.feature_extractor,
            }
        )
        if is_first_worker():
            save_checkpoint(resume_from, epoch, training.state(epoch, history, seconds))
        report(history[-1])

    if is_first_worker():
        save_generator(training.ema, resume_from)
        sample_grid(grid_images(training.ema, config, device), resume_from / "samples.png", GRID_COLUMNS)
    final_images = sample_images(training.ema, fake_labels, config, "evaluation")
    return {
        **from_first_worker(lambda: quality.final_metrics(final_images)),
        "frechet_first": history[0]["frechet_distance"],
        "gan_epoch": epoch,
        "gan_seconds": seconds,
        "gan_images_per_second": epoch * len(train.labels) / seconds,
        "evaluation_seconds": quality.seconds,
        "generator_parameters": parameter_count(training.generator),
        "generator_lstm_parameters": sum(
            parameter_count(m) for m in training.generator.modules() if isinstance(m, nn.LSTM)
        ),
        "critic_parameters": parameter_count(training.critic),
    }


@dataclass
class GanTraining:
    """The four networks and optimisers of a run, and how they are stored."""

    generator: nn.Module
    critic: nn.Module
    ema: nn.Module
    generator_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer

    def run_epoch(self, config: GanConfig, train: Side, epoch: int) -> dict[str, float]:
        """One pass of the critic over the real images; returns the epoch's mean losses by name."""
        device, batch_size = train.images.device, config.gan_batch_size
        draws = make_generator(device, config.seed, "gan", epoch)
        steps = len(train.labels) // batch_size
        order = torch.randperm(len(train.labels), generator=draws, device=device)
        critic_parts, generator_losses = [], []
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size]
            z = torch.randn(batch_size, config.latent_dim, generator=draws, device=device)
            epsilon = torch.rand(batch_size, 1, 1, 1, generator=draws, device=device)
            mirrored = torch.rand(batch_size, 1, 1, 1, generator=draws, device=device) < 0.5
            rows, z, epsilon, mirrored = map(share, (rows, z, epsilon, mirrored))
            labels = train.labels[rows]
            real = to_float(train.images[rows]).contiguous(memory_format=torch.channels_last)
            if config.gan_flip:
                real = torch.where(mirrored, real.flip(-1), real)
            global_step = (epoch - 1) * steps + step
            with_penalty = global_step % config.penalty_interval == 0
            critic_parts.append(self.critic_step(config, real, labels, z, epsilon if with_penalty else None))
            if (global_step + 1) % config.critic_steps == 0:
                z = share(torch.randn(batch_size, config.latent_dim, generator=draws, device=device))
                generator_losses.append(self.generator_step(config, labels, z))
                self.update_ema(config.ema_decay, (global_step + 1) // config.critic_steps)
        no_step = torch.full((1,), float("nan"), device=device)  # an epoch shorter than critic_steps may hold none
        generator_mean = torch.stack(generator_losses).mean(0, keepdim=True) if generator_losses else no_step
        means = mean_over_workers(torch.cat([torch.stack(critic_parts).mean(0), generator_mean]))
        return dict(zip(("critic_loss", "wasserstein", "penalty", "generator_loss"), means.tolist(), strict=True))

    def critic_step(self, config: GanConfig, real: Tensor, labels: Tensor, z: Tensor, epsilon: Tensor | None) -> Tensor:
        """One update of the critic; returns (critic loss, wasserstein, penalty). Without epsilon no penalty."""
        with autocast(config, real.device):
            with torch.no_grad():
                fake = self.generator(z, labels)
            # A lazy penalty is scaled up so that its mean weight stays (Karras et al. 2020, appendix B).
            weight = config.penalty_weight * config.penalty_interval
            loss, parts = critic_loss(self.critic, real, fake.to(real.dtype), labels, weight, epsilon)
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.critic.parameters())
        self.critic_optimiser.step()
        return torch.stack([loss.detach().float(), parts["wasserstein"].float(), parts["penalty"].float()])

    def generator_step(self, config: GanConfig, labels: Tensor, z: Tensor) -> Tensor:
        """One update of the generator; returns the loss."""
        self.critic.requires_grad_(False)  # its weight gradients would be thrown away
        with autocast(config, z.device):
            loss = generator_loss(self.critic, self.generator(z, labels), labels)
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.critic.requires_grad_(True)
        average_gradients(self.generator.parameters())
        self.generator_optimiser.step()
        return loss.detach().float()

    @torch.no_grad()
    def update_ema(self, decay: float, step: int) -> None:
        """Weights move towards the generator's, batch norm's running statistics are copied.

        The decay rises to `decay` with the step (1, 2, ...), so that the first weights are soon forgotten.
        """
        decay = min(decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - decay)
        for mean, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            mean.copy_(value)

    def state(self, epoch: int, history: list[dict], seconds: float) -> dict:
        """All that a continuation needs; random numbers are derived from the epoch (see `study.seeds`)."""
        progress = {"epoch": epoch, "history": history, "seconds": seconds}
        return progress | {name: part.state_dict() for name, part in vars(self).items()}

    def load(self, state: dict) -> list[dict]:
        """Restore what `state` stored; returns its history."""
        for name, part in vars(self).items():
            part.load_state_dict(state[name])
        return list(state["history"])


def build_training(config: GanConfig, device: torch.device) -> GanTraining:
    """Networks and optimisers at their start, the same on every worker."""
    torch.manual_seed(derive_seed(config.seed, "gan", "initial weights"))
    generator = synchronise_batch_norm(new_generator(config)).to(device, memory_format=torch.channels_last)
    critic = Critic(config.image_size, config.critic_width).to(device, memory_format=torch.channels_last)
    betas = (config.adam_beta1, config.adam_beta2)
    return GanTraining(
        generator=generator,
        critic=critic,
        ema=copy.deepcopy(generator).requires_grad_(False).eval(),
        generator_optimiser=torch.optim.Adam(generator.parameters(), lr=config.generator_lr, betas=betas),
        critic_optimiser=torch.optim.Adam(critic.parameters(), lr=config.critic_lr, betas=betas),
    )


def new_generator(config: GanConfig) -> nn.Module:
    """The generator of a config, with fresh weights."""
    return build_generator(
        config.backbone,
        image_size=config.image_size,
        latent_dim=config.latent_dim,
        lstm_depth=config.lstm_depth,
        lstm_width=config.lstm_width,
        decoder_width=config.decoder_width,
        backbone_width=config.backbone_width,
        backbone_depth=config.backbone_depth,
        pretrained=config.pretrained,
    )


def save_generator(generator: nn.Module, folder: Path) -> None:
    """Write the weights as `generator.safetensors`."""
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    write_tensors(folder / "generator.safetensors", weights, "EMA generator")


def load_generator(config: GanConfig, folder: Path, device: torch.device) -> nn.Module:
    """The trained EMA generator of a GAN's folder, ready to sample. Raises `study.sealed.Damaged`."""
    generator = new_generator(config.model_copy(update={"pretrained": False}))
    generator.load_state_dict(read_tensors(folder / "generator.safetensors")[0])
    return generator.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()


def autocast(config: GanConfig, device: torch.device):
    """The config's precision as a context."""
    bfloat16 = config.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()


@torch.no_grad()
def sample_images(generator: nn.Module, labels: Tensor, config: GanConfig, purpose: str) -> Tensor:
    """Synthetic images uint8 (N, 3, S, S) of the classes `labels` (N,); equal arguments give equal images."""
    draws = make_generator(labels.device, config.seed, "sample", purpose)
    z = torch.randn(len(labels), config.latent_dim, generator=draws, device=labels.device)
    with autocast(config, labels.device):
        batches = zip(z.split(SAMPLING_BATCH), labels.split(SAMPLING_BATCH), strict=True)
        return torch.cat([to_uint8(generator(*batch).float()) for batch in batches])


def evenly_drawn(labels: Tensor, count: int) -> Tensor:
    """`count` labels in the proportions of `labels`."""
    return labels[even_places(labels, count)]


def grid_images(generator: nn.Module, config: GanConfig, device: torch.device) -> Tensor:
    """The images of the sample grid: fixed noise, a row of the negative class above a row of the positive."""
    labels = torch.arange(GRID_ROWS, device=device).repeat_interleave(GRID_COLUMNS)
    return sample_images(generator, labels, config, "grid")


def check_health(losses: dict[str, float], epoch: int) -> None:
    """Raise Diverged for an epoch's losses from which a GAN does not recover."""
    if not abs(losses["critic_loss"]) < EXPLODED_LOSS:  # also true for NaN
        raise Diverged(f"GAN diverged: critic loss is {losses['critic_loss']:g} in epoch {epoch}")
    if abs(losses["wasserstein"]) < INDISTINCT_SCORES:
        raise Diverged(f"critic collapsed: it scores real and synthetic images alike in epoch {epoch}")
