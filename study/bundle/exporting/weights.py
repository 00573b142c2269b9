"""The networks of a bundle, and what an answer needs besides: bands, distances, the 8-bit classifier."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from sklearn.covariance import LedoitWolf

from data_utils.dataset import Dataset, Side, training_subset
from results.tables.schema import PREDICTIONS
from results.tables.store import read_part
from study.bundle import folder
from study.bundle.decision import ERROR_RATE, FAR_RATE, TrainingFeatures, far_threshold, uncertain_band
from study.bundle.exporting.compression import probabilities, side_by_side
from study.bundle.exporting.onnx_file import TOLERANCE, largest_difference, to_int8, to_onnx
from study.bundle.networks import new_session, sigmoid, to_float
from study.bundle.torch_networks import LogitsAndFeatures, rebuilt_classifier, rebuilt_generator
from study.config import TrialConfig
from study.errors import ConfigError
from study.gan.folder import GanFolder
from study.storage.tensors import read_tensors
from study.training.precision import autocast
from study.trial.classifiers import classifier_file

CALIBRATION_IMAGES = 512
# Between the table `predictions` and the weights that are exported; bfloat16 rounds otherwise on another processor.
SAME_PROBABILITY = {"float32": 1e-5, "bfloat16": 1e-2}
PROBE = 8  # inputs that an ONNX file is compared on


def write_classifier(
    made: Path, study: Path, row: dict, config: TrialConfig, dataset: Dataset, weights: dict, announce: Callable
) -> dict:
    """Weights, ONNX, int8, training features; returns what `bundle.json` holds of them."""
    model = rebuilt_classifier(config, weights)
    sides = {name: dataset.side(name) for name in ("validation", "test")}
    answers = {name: answer(model, config, side) for name, side in sides.items()}
    difference = compare_with_table(study, row, sides, answers)
    content = save(model.classifier.state_dict())
    sha256 = write(made / folder.WEIGHTS["classifier"], content)
    probe = {"images": torch.from_numpy(to_float(sides["validation"].images[:PROBE].numpy()))}
    announce("classifier: ONNX")
    onnx = to_onnx(model, probe, ["logits", "features"], sha256)
    parity = checked_parity(onnx, model, probe, "classifier")
    session = new_session(onnx, folder.ONNX["classifier"])  # in float32, whatever the trial's precision
    of_onnx = {name: (probabilities(session, side.images.numpy(), "float"), None) for name, side in sides.items()}
    announce("classifier: 8-bit integers")
    train = training_subset(dataset, *config.training_groups).side("train")
    int8 = to_int8(onnx, to_float(spread(train.images, CALIBRATION_IMAGES).numpy()), sha256)
    write(made / folder.ONNX["classifier"], onnx)
    write(made / folder.INT8, int8)
    training = fit_training_features(answer(model, config, train)[1], train.labels.numpy())
    write(made / folder.TRAINING_FEATURES, save_arrays(vars(training)))
    labels = sides["validation"].labels.numpy()
    groups = sides["validation"].groups
    low, high = uncertain_band(labels, answers["validation"][0], groups, row["threshold"])
    distances = training.distance(answers["validation"][1])
    measured = {name: (side.images.numpy(), side.labels.numpy()) for name, side in sides.items()}
    band = {"low": low, "high": high, "error_rate": ERROR_RATE, "source": "validation, by class and group"}
    return {
        "uncertain_band": band,
        "far_from_training": {"threshold": far_threshold(distances, groups), "rate": FAR_RATE, "source": "validation"},
        "classifier": {
            "onnx_difference": parity,
            "table_difference": difference,
            "onnx_table_difference": largest_table_difference(study, row, sides, of_onnx),
        },
        "compression": side_by_side({"float": onnx, "int8": int8}, measured),
    }


def write_generator(made: Path, study: Path, row: dict, config: TrialConfig, announce: Callable) -> dict:
    """Weights and ONNX; returns what `bundle.json` holds of them."""
    announce("generator: ONNX")
    stored = GanFolder(study / "gans" / row["gan_key"])
    if not stored.generator.exists():
        raise ConfigError(f"the GAN of {row['trial_id']}, {stored.path}, is missing; copy the study's folder gans, too")
    weights = read_tensors(stored.generator)[0]
    model = rebuilt_generator(config, weights)
    sha256 = write(made / folder.WEIGHTS["generator"], save(weights))
    draws = torch.Generator().manual_seed(0)
    probe = {"z": torch.randn(PROBE, config.z_dim, generator=draws), "labels": torch.arange(PROBE) % 2}
    onnx = to_onnx(model, probe, ["images"], sha256)
    parity = checked_parity(onnx, model, probe, "generator")
    write(made / folder.ONNX["generator"], onnx)
    return {"onnx_difference": parity, "z_dim": config.z_dim}


def write(path: Path, content: bytes) -> str:
    """Write a file; returns its SHA-256."""
    path.write_bytes(content)
    return folder.sha256(content)


def checked_parity(onnx: bytes, model: torch.nn.Module, probe: dict, name: str) -> float:
    difference = largest_difference(onnx, model, probe)
    if difference > TOLERANCE:
        raise ConfigError(
            f"the {name}'s ONNX file differs from PyTorch by {difference:.2g}, more than {TOLERANCE:g}: this network "
            "cannot be exported; choose a trial with another backbone"
        )
    return difference


@torch.no_grad()
def answer(model: LogitsAndFeatures, config: TrialConfig, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N,) and features (N, C) of a side, in the precision that the trial was run in."""
    found = []
    for images in side.images.split(128):
        with autocast(config, images.device):
            batch = torch.from_numpy(to_float(images.numpy()))
            found.append(model(batch.contiguous(memory_format=torch.channels_last)))
    logits, features = (torch.cat(part).float().numpy() for part in zip(*found, strict=True))
    return sigmoid(logits), features


def compare_with_table(study: Path, row: dict, sides: dict[str, Side], answers: dict) -> float:
    """The largest difference to the trial's stored predictions; ConfigError where the weights are others."""
    difference = largest_table_difference(study, row, sides, answers)
    if difference > SAME_PROBABILITY[row["precision"]] and row["device"] == "cpu":
        raise ConfigError(
            f"the kept classifier of {row['trial_id']} gives other probabilities than the table predictions (by "
            f"{difference:.2g}): its file is of another training; delete {classifier_file(study, row['trial_id'])} and "
            "add --train-again"
        )
    return difference


def largest_table_difference(study: Path, row: dict, sides: dict[str, Side], answers: dict) -> float:
    """Between probabilities, the first of each side's `answers`, and the trial's stored ones."""
    table = read_part(study / "predictions" / f"{row['trial_id']}.parquet", PREDICTIONS)
    table = table.filter(pc.field("corruption") == "none").to_pandas().set_index(["side", "image_id"])["probability"]
    if not set(sides["validation"].image_ids) <= set(table.loc["validation"].index):
        raise ConfigError(
            f"the prepared data have other image ids than the trial {row['trial_id']}: they were prepared again with "
            "another salt. Copy the folder prepared that lay beside the study"
        )
    differences = [
        np.abs(table.loc[name].loc[list(sides[name].image_ids)].to_numpy() - answers[name][0]).max() for name in sides
    ]
    return float(max(differences))


def spread(images: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` images, evenly over the side."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()]


def fit_training_features(features: np.ndarray, labels: np.ndarray) -> TrainingFeatures:
    """Class means and whitening matrix of features (N, C); the covariance is shrunk (Ledoit and Wolf 2004)."""
    means = np.stack([features[labels == label].mean(axis=0) for label in (0, 1)])
    fitted = LedoitWolf(assume_centered=True).fit((features - means[labels]).astype(np.float64))
    whitening = np.linalg.cholesky(fitted.precision_)
    return TrainingFeatures(means.astype(np.float32), whitening.astype(np.float32))
