"""A completed trial -> a bundle: weights, ONNX files, what an answer needs, figures, and the model card."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_utils.dataset import load_dataset
from data_utils.parquet_file import read_table as read_prepared
from data_utils.patches import REDUCED
from results.tables.store import read_trials
from study.bundle import folder
from study.bundle.exporting import card
from study.bundle.exporting.metrics import COPIES, audit_verdicts, confirmed_metrics, trial_metrics
from study.bundle.exporting.weights import write_classifier, write_generator
from study.bundle.output import writable_folder
from study.config import TrialConfig
from study.errors import ConfigError
from study.gan_audit.study import audit_row, with_references
from study.trial.again import train_again
from study.trial.choice import best_trial, choose_row
from study.trial.classifiers import classifier_file, read_classifier
from study.trial.provenance import code_version, hardware
from study.trial.record import prepared_file, row_config


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
    study, out = wanted.study, writable_folder(out, folder.MANIFEST, folder.FORMAT, force)
    row = choose_row(study, wanted.best, wanted.trial_id)
    announce(f"trial        {row['trial_id']} of {study}: validation AUROC {row['validation_auroc']:.3f}")
    if not row["gan_key"]:
        announce(f"generator    none: it was trained on real images alone{other_choice(study)}")
    config = row_config(row)
    dataset = load_dataset(prepared_file(study, row["data_fingerprint"]), config.image_size)
    if wanted.train_again and not classifier_file(study, row["trial_id"]).exists():
        announce("training the classifier again")
        train_again(study, row)
    weights = read_classifier(study, row["trial_id"])
    verdicts = checked_verdicts(study, row, wanted.anyway, announce)
    with tempfile.TemporaryDirectory(dir=out, prefix=".tmp-bundle-") as name:
        made = Path(name)
        about = describe(wanted, row, config, verdicts)
        about |= write_classifier(made, study, row, config, dataset, weights, announce)
        if row["gan_key"]:
            about["generator"] = write_generator(made, study, row, config, announce)
        (made / folder.ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (made / folder.CARD).write_text(card.model_card(about), encoding="utf-8")
        folder.write_manifest(made)
        put_in_place(made, out)
    return out


def put_in_place(made: Path, out: Path) -> None:
    """Move a bundle into the folder that holds it and perhaps another, whose files go only now that there is a new one.

    The manifest comes last: a bundle that was cut off in between is told from a whole one by it. `out` itself, which
    may be a mounted disk, stays.
    """
    files = sorted(made.iterdir(), key=lambda path: path.name == folder.MANIFEST)
    names = {path.name for path in files}
    for path in files:
        path.replace(out / path.name)
    for path in out.iterdir():
        if path.is_file() and path.name not in names:
            path.unlink()


def other_choice(study: Path) -> str:
    """How to export a generator, too: the best trial that has one; empty where none has."""
    trials = read_trials(study)
    with_gan = trials[(trials["status"] == "completed") & trials["gan_key"].notna()]
    return f"; --trial {best_trial(study, with_gan, 'auroc')} is the best with a GAN" if len(with_gan) else ""


def checked_verdicts(study: Path, row: dict, anyway: bool, announce: Callable) -> dict[str, str]:
    """What the audit says of the trial's GAN, audited now where it was not; ConfigError where it copies."""
    if not row["gan_key"]:
        return {}
    if not audit_verdicts(study, row["gan_key"]):
        announce("auditing the GAN: it was not audited yet")
        device = torch.device("cpu")
        for one, references in with_references(study, [row], device, announce):
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
        "preprocessing": {
            "decoded_side": REDUCED * metadata["image_size"],
            "sizes": sizes,
            "range": [-1, 1],
            "steps": "upright, centred square, bicubic to each size",
        },
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
