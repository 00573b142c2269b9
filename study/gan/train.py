"""Training of a class-conditional generator with a moving average, measured on validation, by any of the objectives.

A plain PyTorch loop: it takes a `report` callable and a folder, and needs no Ray.
"""

import math
import time
from collections.abc import Callable

from torch import Tensor, nn

from data_utils.dataset import Dataset, Side, evenly_drawn
from models.generator import parameter_count
from study.config import GanConfig
from study.errors import Diverged
from study.gan.backend import choose_backend, use_backend
from study.gan.folder import GanFolder
from study.gan.quality import GanQuality
from study.gan.sampling import GRID_COLUMNS, grid_images, sample_grid, sample_images, save_generator
from study.gan.step import build_training
from study.gan.training import Training, without_labels
from study.storage.checkpoint import save_checkpoint
from study.training.preemption import any_notice
from study.training.withdrawal import leave_if_withdrawn
from study.training.workers import from_first_worker, is_first_worker, load_checkpoint

EXPLODED_LOSS = 1e8
INDISTINCT_SCORES = 1e-7  # mean difference between the scores of real and synthetic images
GAN_DIVERGED, CRITIC_COLLAPSED = "GAN diverged", "critic collapsed"  # so begins the reason of a failed trial


def train_gan(
    config: GanConfig,
    dataset: Dataset,
    report: Callable[[dict], None],
    folder: GanFolder,
    micro_batches: int = 1,
    unlabelled: Tensor | None = None,
) -> dict:
    """Train a generator, and its critic where it has one; returns the GAN's result columns.

    With `pretraining` the first half of the epochs, or of the time, shows the training images `unlabelled`, uint8
    (M, 3, S, S), without their labels, and the second half the train side of `dataset`, which may be a part of them.
    What a generator starts from comes from that part alone.

    A checkpoint in `folder` is continued: bit for bit on the same kind of processor, but not on a GPU, whose libraries
    may add in another order each time. At the end the folder holds the EMA generator and `samples.png`. `report` gets
    one dict at each measurement of the Frechet distance on validation; a continued training reports earlier ones again.

    With `micro_batches` above 1 the networks see each batch in that many pieces, which takes less memory.

    Raises Diverged when a loss is not finite, or when the critic explodes or scores real and synthetic images alike.
    """
    assert (unlabelled is None) == (config.pretraining == "none"), config.pretraining
    device, train = dataset.images.device, dataset.side("train")
    quality = GanQuality(config, dataset)
    fake_labels = evenly_drawn(dataset.side("validation").labels, config.eval_images)
    training, history, epoch, seconds = start_or_continue(config, train, folder, micro_batches)
    quality.seconds += training.evaluation_seconds
    for entry in history:
        report(entry)

    # Without epochs the start is measured.
    while not history or not is_over(training, epoch, seconds):
        start, begun = epoch, seconds
        epoch, seconds, losses = train_until_measured(training, train, unlabelled, folder, history, epoch, seconds)
        distance = from_first_worker(
            lambda: quality.frechet_distance(sample_images(training.ema, fake_labels, config, "evaluation"))
        )
        entry = {
            "stage": "gan",
            "epoch": epoch,
            "seconds": seconds,
            **losses,
            "frechet_distance": distance,
            "images_per_second": images_per_second(training, epoch - start, train, seconds - begun),
            "num_real": quality.num_real,
            "num_fake": len(fake_labels),
            "feature_extractor": config.feature_extractor,
        }
        history.append(entry)
        training.evaluation_seconds = quality.seconds
        if is_first_worker():
            save_checkpoint(folder.path, epoch, training.state(epoch, history, seconds))
        report(entry)

    if is_first_worker():
        save_generator(training.ema, folder)
        sample_grid(grid_images(training.ema, config, device), folder.samples, GRID_COLUMNS)
    final_images = sample_images(training.ema, fake_labels, config, "evaluation")
    return {
        **from_first_worker(lambda: quality.final_metrics(final_images)),
        "frechet_first": history[0]["frechet_distance"],
        "gan_epoch": epoch,
        "gan_pretraining_epochs": training.pretraining_epochs,
        "gan_seconds": seconds,
        "gan_images_per_second": images_per_second(training, epoch, train, seconds),
        "evaluation_seconds": quality.seconds,
        **network_columns(training),
    }


def train_until_measured(
    training: Training,
    train: Side,
    unlabelled: Tensor | None,
    folder: GanFolder,
    history: list[dict],
    epoch: int,
    seconds: float,
) -> tuple[int, float, dict[str, float]]:
    """Train to the next measurement, the last epoch or the time limit; epoch and seconds then, and the last losses."""
    config, device, started, losses = training.config, train.images.device, time.perf_counter(), {}
    end = min(epoch - epoch % config.gan_eval_interval + config.gan_eval_interval, config.gan_epochs)

    def so_far() -> float:
        return seconds + time.perf_counter() - started

    while epoch < end:
        pretrains = is_pretraining(training, epoch, so_far())
        epoch += 1
        losses = training.run_epoch(without_labels(config, unlabelled, train, epoch) if pretrains else train, epoch)
        check_health(losses, epoch)
        training.pretraining_epochs += pretrains
        if is_over(training, epoch, so_far()):
            break
        leave_if_withdrawn(device)
        if epoch < end and any_notice(device) and is_first_worker():  # the next epoch may not come to its end
            save_checkpoint(folder.path, epoch, training.state(epoch, history, so_far()))
    return epoch, so_far(), losses


def images_per_second(training: Training, epochs: int, train: Side, seconds: float) -> float | None:
    """Real images that a step saw; None where nothing was trained."""
    return epochs * training.steps_in_epoch(train) * training.config.gan_batch_size / seconds if epochs else None


def start_or_continue(
    config: GanConfig, train: Side, folder: GanFolder, micro_batches: int
) -> tuple[Training, list[dict], int, float]:
    """The training as its newest checkpoint left it, or new; its history, its epoch and its seconds so far."""
    training = build_training(config, train.images.device)
    training.micro_batches = micro_batches  # before the backends are tried, which need the memory of a step
    if state := load_checkpoint(folder.path, train.images.device):
        history, epoch, seconds = training.load(state), state["epoch"], state["seconds"]
    else:
        started = time.perf_counter()
        training.fit(train)
        history, epoch, seconds = [], 0, time.perf_counter() - started
    if epoch < config.gan_epochs:
        use_backend(training, choose_backend(training, train, state["step_backend"] if state else None))
    return training, history, epoch, seconds


def is_over(training: Training, epoch: int, seconds: float) -> bool:
    """Whether the epochs or the time are used up. An epoch at the least has shown labels."""
    config = training.config
    if epoch >= config.gan_epochs:
        return True
    return training.pretraining_epochs < epoch and time_is_up(config, epoch, seconds)


def is_pretraining(training: Training, epoch: int, seconds: float) -> bool:
    """Whether the next epoch shows images without labels: in the first half, and not after one that has shown them."""
    config = training.config
    if config.pretraining == "none" or training.pretraining_epochs < epoch:
        return False
    return epoch < config.gan_epochs // 2 and not time_is_up(config, epoch, 2 * seconds)


def time_is_up(config: GanConfig, epoch: int, seconds: float) -> bool:
    """Whether the time limit, if there is one, is nearer now than after another epoch.

    By the first worker's clock, so that all agree.
    """
    if not config.gan_time_limit or not epoch:
        return False
    return from_first_worker(lambda: seconds + 0.5 * seconds / epoch >= config.gan_time_limit)


def network_columns(training: Training) -> dict[str, int | str]:
    """The result columns that tell of the networks and how their steps were run."""
    lstms = [module for module in training.generator.modules() if isinstance(module, nn.LSTM)]
    return {
        "step_backend": training.backend,
        "generator_lstm_parameters": sum(map(parameter_count, lstms)),
        **{f"{name}_parameters": parameter_count(network) for name, network in training.networks.items()},
    }


def check_health(losses: dict[str, float], epoch: int) -> None:
    """Raise Diverged for losses of an epoch from which a training does not recover."""
    for name, loss in losses.items():
        if not abs(loss) < EXPLODED_LOSS:  # also true for NaN
            raise Diverged(f"{GAN_DIVERGED}: {name.replace('_', ' ')} is {loss:g} in epoch {epoch}")
    if abs(losses.get("wasserstein", math.inf)) < INDISTINCT_SCORES:
        raise Diverged(f"{CRITIC_COLLAPSED}: it scores real and synthetic images alike in epoch {epoch}")
