"""One trial: config -> GAN -> synthetic images -> classifier -> result columns. Plain PyTorch, no Ray."""

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_utils.dataset import Dataset
from study.config import ConfigError, TrialConfig
from study.gan_store import obtain_gan
from study.parallel import from_first_worker
from study.train_classifier import train_classifier
from study.train_gan import evenly_drawn, load_generator, sample_images

Report = Callable[[dict], None]
SYNTHETIC_GROUP = "synthetic"  # in the place of a group and an image id


def run_trial(config: TrialConfig, dataset: Dataset, report: Report, gans: Path, checkpoints: Path) -> dict:
    """Run a trial to its end; returns every measured result column.

    `gans` is the study's store of trained GANs; `checkpoints` the trial's own folder, from which its classifier is
    continued. `report` gets one dict at each measurement. Raises `study.train_gan.Diverged` when a training fails.
    """
    started = time.perf_counter()
    reset_peak_memory(dataset.images.device)
    result = {"num_train_synthetic": 0}
    training_set = dataset
    if config.uses_gan:
        folder, metrics, reused = obtain_gan(config, dataset, report, gans)
        generator = load_generator(config, folder, dataset.images.device)
        synthetic_labels = evenly_drawn(
            dataset.side("train").labels, round(config.synthetic_ratio * len(dataset.side("train").labels))
        )
        sampling_started = time.perf_counter()
        synthetic = sample_images(generator, synthetic_labels, config, "training")
        sampling_seconds = time.perf_counter() - sampling_started
        training_set = mix(dataset, synthetic, synthetic_labels, config.training_images == "real_and_synthetic")
        result = {
            **metrics,
            "gan_key": folder.name,
            "gan_reused": reused,
            "num_train_synthetic": len(synthetic_labels),
            "seconds_per_synthetic_image": sampling_seconds / len(synthetic_labels),
        }
    return {
        **result,
        "num_train_real": int((training_set.side("train").groups != SYNTHETIC_GROUP).sum()),
        **train_classifier(config, training_set, report, checkpoints),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": from_first_worker(lambda: peak_memory(dataset.images.device)),
    }


def mix(dataset: Dataset, images: Tensor, labels: Tensor, keep_real: bool) -> Dataset:
    """The data set with synthetic images (M, 3, S, S) on its train side, beside the real ones or instead of them."""
    kept = (dataset.split != "train") | keep_real
    index = torch.from_numpy(np.flatnonzero(kept)).to(dataset.images.device)
    added = len(labels)
    return replace(
        dataset,
        images=torch.cat([dataset.images[index], images]),
        labels=torch.cat([dataset.labels[index], labels]),
        split=np.concatenate([dataset.split[kept], np.full(added, "train")]),
        groups=np.concatenate([dataset.groups[kept], np.full(added, SYNTHETIC_GROUP)]),
        image_ids=np.concatenate([dataset.image_ids[kept], np.full(added, SYNTHETIC_GROUP)]),
    )


def check_fits(config: TrialConfig, num_train: int, num_workers: int) -> None:
    """Raise ConfigError for too few images: to fill a batch, to share it evenly, or of each synthetic class."""
    if config.gan_batch_size > num_train:
        raise ConfigError(
            f"gan_batch_size={config.gan_batch_size} is more than the {num_train} training images; "
            f"use --set gan_batch_size=N with N up to {num_train}"
        )
    if config.uses_gan and round(config.synthetic_ratio * num_train) < 2:
        raise ConfigError(
            f"synthetic_ratio={config.synthetic_ratio:g} of {num_train} training images is not an image of each class; "
            f"use 0 (real images only) or at least {2 / num_train:.2g}"
        )
    for field in ("gan_batch_size", "classifier_batch_size"):
        if getattr(config, field) % num_workers:
            raise ConfigError(f"{field}={getattr(config, field)} does not divide evenly over {num_workers} workers")


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak since `reset_peak_memory` on a GPU, the process's peak resident size on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
