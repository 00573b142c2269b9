"""A completed trial -> a bundle: weights, ONNX files, what an answer needs, figures, and the model card."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from sklearn.covariance import LedoitWolf

from data_utils.dataset import Dataset, Side, load_dataset, training_subset
from data_utils.parquet_file import read_table as read_prepared
from results.tables.schema import PREDICTIONS
from results.tables.store import read_part
from study.bundle import card, folder
from study.bundle.compression import side_by_side
from study.bundle.decision import ERROR_RATE, FAR_RATE, TrainingFeatures, far_threshold, uncertain_band
from study.bundle.metrics import COPIES, audit_verdicts, confirmed_metrics, trial_metrics
from study.bundle.networks import sigmoid, to_float
from study.bundle.onnx_file import TOLERANCE, largest_difference, to_int8, to_onnx
from study.bundle.output import fresh_folder
from study.bundle.torch_networks import LogitsAndFeatures, rebuilt_classifier, rebuilt_generator
from study.config import TrialConfig
from study.errors import ConfigError
from study.gan.folder import GanFolder
from study.gan_audit.study import audit_row, with_references
from study.storage.sealed import read_tensors
from study.training.precision import autocast
from study.trial.again import train_again
from study.trial.choice import choose_row
from study.trial.classifiers import classifier_file, read_classifier
from study.trial.provenance import code_version, hardware
from study.trial.record import prepared_file, row_config

CALIBRATION_IMAGES = 512
SAME_PROBABILITY = 1e-5  # between the table `predictions` and the weights that are exported
PROBE = 8  # inputs that an ONNX file is compared on


@dataclass(frozen=True)
class Wanted:
    """What is exported: the trial `trial_id`, or the best by "auroc" or "frechet", and on which terms.

    `licence` holds the texts "weights" and "data", or None where they are not stated. `train_again`: a classifier that
    was not kept is trained again. `anyway`: a GAN that copies training images is exported, too.
    """

    study: Path
    best: str | None
    trial_id: str | None
    licence: dict
    train_again: bool = False
    anyway: bool = False


def export(wanted: Wanted, out: Path, force: bool, announce: Callable[[str], None]) -> Path:
    """Write the bundle of a study's trial to the folder `out`; returns it. Raises ConfigError, DataError, TableError.

    Refused: a trial that is not completed or whose classifier was not kept, weights that do not give the stored
    predictions, and a GAN that the audit says copies training images (unless `anyway`).
    """
    study = wanted.study
    row = choose_row(study, wanted.best, wanted.trial_id)
    announce(f"trial        {row['trial_id']} of {study}: validation AUROC {row['validation_auroc']:.3f}")
    config = row_config(row)
    dataset = load_dataset(prepared_file(study, row["data_fingerprint"]), config.image_size)
    if wanted.train_again and not classifier_file(study, row["trial_id"]).exists():
        announce("training the classifier again")
        train_again(study, row)
    weights = read_classifier(study, row["trial_id"])
    verdicts = checked_verdicts(study, row, wanted.anyway, announce)
    out = fresh_folder(out, folder.MANIFEST, force)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp-bundle-") as name:
        made = Path(name) / "bundle"
        made.mkdir()
        about = describe(wanted, row, config, verdicts)
        about |= write_classifier(made, study, row, config, dataset, weights, announce)
        if row["gan_key"]:
            about["generator"] = write_generator(made, study, row, config, announce)
        (made / folder.ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (made / folder.CARD).write_text(card.model_card(about), encoding="utf-8")
        folder.write_manifest(made)
        made.replace(out)  # an empty folder gives way
    return out


def checked_verdicts(study: Path, row: dict, anyway: bool, announce: Callable) -> dict[str, str]:
    """What the audit says of the trial's GAN, audited now where it was not; ConfigError where it copies."""
    if not row["gan_key"]:
        return {}
    if not audit_verdicts(study, row["gan_key"]):
        announce("auditing the GAN: it was not audited yet")
        device = torch.device("cpu")
        for one, references in with_references(study, [row], device):
            audit_row(study, one, references, device)
    verdicts = audit_verdicts(study, row["gan_key"])
    if any(COPIES in verdict for verdict in verdicts.values()) and not anyway:
        raise ConfigError(
            f"the GAN of {row['trial_id']} {COPIES}, says the audit ({'; '.join(sorted(set(verdicts.values())))}): its "
            "images may show patients. Export another trial, or add --anyway, and the card will say so"
        )
    return verdicts


def describe(wanted: Wanted, row: dict, config: TrialConfig, verdicts: dict) -> dict:
    """What `bundle.json` holds of the trial and its data."""
    study = wanted.study
    metadata = read_prepared(prepared_file(study, row["data_fingerprint"]))[1]
    sizes = [metadata["image_size"]] + [config.image_size] * (config.image_size != metadata["image_size"])
    names = (
        *("split_protocol", "data_layout", "is_sample_data", "data_fingerprint", "num_near_duplicates"),
        *("num_skipped_files", "num_train_real", "num_train_synthetic", "num_leaked_test", "validation_num_images"),
        *("validation_num_positive", "test_num_images", "test_num_positive", "frechet_distance", "frechet_floor"),
        *("feature_extractor", "commit", "code_version", "started_at", "arm", "phase"),
    )
    return {
        "trial_id": row["trial_id"],
        "study": study.absolute().name,
        "class_names": [row["negative_class"], row["positive_class"]],
        "threshold": {
            "value": float(row["threshold"]),
            "source": f"greatest Youden's J on {row['validation_num_images']:.0f} validation images",
        },
        "preprocessing": {"sizes": sizes, "range": [-1, 1], "steps": "upright, centred square, bicubic to each size"},
        "config": config.model_dump(),
        "trial": {name: plain(row.get(name)) for name in names},
        "metrics": trial_metrics(row),
        "confirmation": confirmed_metrics(study, row),
        "audit": verdicts,
        "exported_although_it_copies": wanted.anyway and any(COPIES in verdict for verdict in verdicts.values()),
        "licence": wanted.licence,
        "exported_with": {"code_version": code_version(), "hardware": hardware(torch.device("cpu"))},
    }


def plain(value):
    """A value of a table as JSON holds it: whole numbers that a missing value made a float are whole again."""
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
    announce("classifier: 8-bit integers")
    train = training_subset(dataset, config.training_fraction, config.seed).side("train")
    int8 = to_int8(onnx, to_float(spread(train.images, CALIBRATION_IMAGES).numpy()), sha256)
    write(made / folder.ONNX["classifier"], onnx)
    write(made / folder.INT8, int8)
    training = fit_training_features(answer(model, config, train)[1], train.labels.numpy())
    write(made / folder.TRAINING_FEATURES, save_arrays(vars(training)))
    labels = sides["validation"].labels.numpy()
    low, high = uncertain_band(labels, answers["validation"][0], row["threshold"])
    distances = training.distance(answers["validation"][1])
    measured = {name: (side.images.numpy(), side.labels.numpy()) for name, side in sides.items()}
    return {
        "uncertain_band": {"low": low, "high": high, "error_rate": ERROR_RATE, "source": "validation, by class"},
        "far_from_training": {"threshold": far_threshold(distances), "rate": FAR_RATE, "source": "validation"},
        "classifier": {"onnx_difference": parity, "table_difference": difference},
        "compression": side_by_side({"float": onnx, "int8": int8}, measured),
    }


def write_generator(made: Path, study: Path, row: dict, config: TrialConfig, announce: Callable) -> dict:
    """Weights and ONNX; returns what `bundle.json` holds of them."""
    announce("generator: ONNX")
    weights = read_tensors(GanFolder(study / "gans" / row["gan_key"]).generator)[0]
    model = rebuilt_generator(config, weights)
    sha256 = write(made / folder.WEIGHTS["generator"], save(weights))
    draws = torch.Generator().manual_seed(0)
    probe = {"z": torch.randn(PROBE, config.latent_dim, generator=draws), "labels": torch.arange(PROBE) % 2}
    onnx = to_onnx(model, probe, ["images"], sha256)
    parity = checked_parity(onnx, model, probe, "generator")
    write(made / folder.ONNX["generator"], onnx)
    return {"onnx_difference": parity}


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
    table = read_part(study / "predictions" / f"{row['trial_id']}.parquet", PREDICTIONS)
    table = table.filter(pc.field("corruption") == "none").to_pandas().set_index(["side", "image_id"])["probability"]
    differences = [
        np.abs(table.loc[name].loc[list(sides[name].image_ids)].to_numpy() - answers[name][0]).max() for name in sides
    ]
    if max(differences) > SAME_PROBABILITY and row["device"] == "cpu":
        raise ConfigError(
            f"the kept classifier of {row['trial_id']} gives other probabilities than the table predictions (by "
            f"{max(differences):.2g}): its file is of another training; add --train-again"
        )
    return float(max(differences))


def spread(images: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` images, evenly over the side."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()]


def fit_training_features(features: np.ndarray, labels: np.ndarray) -> TrainingFeatures:
    """The class means and the whitening matrix of features (N, C), whose covariance is shrunk (Ledoit and Wolf 2004)."""
    means = np.stack([features[labels == label].mean(axis=0) for label in (0, 1)])
    fitted = LedoitWolf(assume_centered=True).fit((features - means[labels]).astype(np.float64))
    whitening = np.linalg.cholesky(fitted.precision_)
    return TrainingFeatures(means.astype(np.float32), whitening.astype(np.float32))
