"""One trial: config -> GAN -> synthetic images -> classifier -> result columns. Plain PyTorch, no Ray."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from data_utils.dataset import Dataset, Side, evenly_drawn, training_subset
from data_utils.duplicates.pairs import num_leaked_test
from data_utils.errors import DataError
from study.config import TrialConfig
from study.diagnosis.sets import Condition, missing_labels, mix, oversample, oversample_rarer
from study.diagnosis.train import new_classifier, train_classifier
from study.errors import ConfigError
from study.gan.networks import new_critic, new_generator
from study.gan.sampling import load_generator, sample_images
from study.gan.store import obtain_gan
from study.training.memory import peak_memory, reset_peak_memory, within_memory
from study.training.precision import allow_tf32
from study.training.workers import from_first_worker
from study.trial.selection import most_real, surplus_labels

Report = Callable[[dict], None]


def run_trial(
    config: TrialConfig,
    dataset: Dataset,
    report: Report,
    gans: Path,
    checkpoints: Path,
    more_tests: Callable[[], Iterable[tuple[Condition, Side]]] = tuple,
) -> dict:
    """Run a trial to its end; returns every measured result column, and the predictions.

    `gans` is the study's folder of trained GANs; `checkpoints` is the trial's own folder, named like the trial, from
    which its classifier is continued. `report` gets one dict at each measurement. `more_tests()` gives the test sets
    besides the data set's own. Raises `study.errors.Diverged` when a training fails.
    """
    started = time.perf_counter()
    reset_peak_memory(dataset.images.device)
    allow_tf32(config.tf32)
    whole, dataset = dataset, training_subset(dataset, *config.training_groups)
    labels, keep_real = dataset.side("train").labels, config.training_images == "real_and_synthetic"
    result = {
        "num_train_real": len(labels) if keep_real else 0,
        "num_train_synthetic": 0,
        "num_leaked_test": num_leaked_test(dataset.split, dataset.groups),
    }
    made_by = ""
    training_set = oversample(dataset, config.oversampling) if config.oversampling else dataset
    if config.balance == "oversampled":
        training_set = oversample_rarer(dataset)
    if config.uses_gan:
        wanted = synthetic_labels(config, labels)
        unlabelled = whole.side("train").images if config.pretraining == "unlabelled" else None
        folder, metrics, reused = obtain_gan(config, dataset, report, gans, checkpoints.name, unlabelled)
        made_by = f"{folder.key} {metrics['gan_seconds']}"  # which differ where a damaged GAN was trained again
        generator = load_generator(config, folder, dataset.images.device)
        made = surplus_labels(wanted, config.synthetic_kept)
        sampling_started = time.perf_counter()
        synthetic = sample_images(generator, made, config, "training")
        sampling_seconds = time.perf_counter() - sampling_started
        if config.synthetic_kept < 1:
            chosen = most_real(config, dataset, synthetic, made, wanted)
            synthetic, wanted = synthetic[chosen], made[chosen]
        training_set = mix(training_set, synthetic, wanted, keep_real)
        result |= {
            **metrics,
            "gan_key": folder.key,
            "gan_reused": reused,
            "saved_seconds": metrics["gan_seconds"] if reused else None,
            "num_train_synthetic": len(wanted),
            "seconds_per_synthetic_image": sampling_seconds / len(made),
        }

    def train(micro_batches: int) -> dict:  # another attempt reads the test sets anew
        return train_classifier(config, training_set, report, checkpoints, more_tests(), micro_batches, made_by)

    diagnosis = within_memory(checkpoints, train)
    return {
        **result,
        **diagnosis,
        "micro_batches": max(diagnosis["micro_batches"], result.get("micro_batches", 1)),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": from_first_worker(lambda: peak_memory(dataset.images.device)),
    }


def synthetic_labels(config: TrialConfig, labels: Tensor) -> Tensor:
    """Labels of the synthetic images beside training images of the classes `labels`. Raises DataError for none."""
    if config.balance != "synthetic":
        return evenly_drawn(labels, round(config.synthetic_ratio * len(labels)))
    missing = missing_labels(labels)
    if not len(missing):
        raise DataError(f"balance=synthetic: both classes have {len(labels) // 2} training images, none is missing")
    return missing


def check_networks(configs: Iterable[TrialConfig]) -> None:
    """Raise ConfigError where a network of one of the configs cannot be built. Only shapes are made, no weights."""
    try:
        with torch.device("meta"):
            for config in configs:
                new_generator(config.model_copy(update={"pretrained": False}))
                new_critic(config)
                new_classifier(config, load_weights=False)
    except ValueError as error:
        raise ConfigError(f"--set: {error}") from None


def check_fits(config: TrialConfig, num_train: int, num_workers: int) -> None:
    """Raise ConfigError where the training images do not fill a batch, where the generator would not be trained once,
    where a batch does not divide evenly over the workers, and where a class would get no synthetic image."""
    if config.gan_batch_size > num_train:
        raise ConfigError(
            f"gan_batch_size={config.gan_batch_size} is more than the {num_train} training images; "
            f"a search with --set gan_batch_size={num_train} or less fits them"
        )
    steps = config.gan_epochs * (num_train // config.gan_batch_size)
    if config.uses_gan and config.generator != "flow" and 0 < steps < config.critic_steps:
        raise ConfigError(
            f"gan_epochs={config.gan_epochs} are {steps} steps of the critic with {num_train} training images, and the "
            f"generator would not be trained once: it follows every {config.critic_steps} (critic_steps)"
        )
    if config.synthetic_ratio and round(config.synthetic_ratio * num_train) < 2:
        raise ConfigError(
            f"synthetic_ratio={config.synthetic_ratio:g} of {num_train} training images gives no image of each class; "
            f"use 0 (real images only) or at least {2 / num_train:.2g}"
        )
    for field in ("gan_batch_size", "classifier_batch_size"):
        if getattr(config, field) % num_workers:
            raise ConfigError(f"{field}={getattr(config, field)} does not divide evenly over {num_workers} workers")
