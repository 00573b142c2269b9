"""The work of `study/reproduce.py`: run a stored trial again here and compare each metric with the stored one."""

import tempfile
from argparse import Namespace
from pathlib import Path

import torch

from data_utils.dataset import load_dataset
from study.errors import ConfigError
from study.trial.choice import choose_row
from study.trial.execute import execute
from study.trial.provenance import code_version, commit, hardware
from study.trial.record import Task, prepared_file, row_config

METRICS = (
    *("frechet_first", "frechet_recent", "frechet_distance", "frechet_floor", "frechet_noisy_real"),
    *("fid", "kid_mean", "inception_score"),
    *("manifold_precision", "manifold_recall", "real_or_fake_f1"),
    *("ssim_nearest", "psnr_nearest", "nearest_train_ratio"),
    *("threshold", "classifier_epoch", "validation_auroc", "validation_accuracy"),
    *("test_accuracy", "test_precision", "test_recall", "test_f1", "test_tpr", "test_fpr", "test_auroc"),
)
EXIT_DIFFERENT = 1


def run(options: Namespace) -> int:
    """Returns 0 if every metric is equal, 1 if some differ."""
    return reproduce(options.study, choose_row(options.study, options.best, options.trial))


def reproduce(study: Path, row: dict) -> int:
    """Run the row's trial from scratch in a temporary folder and compare."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepared = prepared_file(study, row["data_fingerprint"])
    config = row_config(row)
    load_dataset(prepared, config.image_size)  # raises for a damaged file
    print(f"trial        {row['trial_id']} of {study}")
    for name, here in (("hardware", hardware(device)), ("code_version", code_version()), ("commit", commit())):
        print(f"{name:<12} {row[name]}" + ("" if row[name] == here else f"   here: {here}"))
    if config.uses_gan and config.gan_time_limit:
        print(f"the GAN was trained for {config.gan_time_limit:g} s, not for epochs: figures will differ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(
            study=Path(folder),
            prepared=prepared,
            trial_id=row["trial_id"],
            config=config,
            num_workers=1,
            num_threads=int(row["num_threads"]),
            columns={name: row[name] for name in ("phase", "objective", "command")},
        )
        again = execute(task, print_entry, device)
    if again["status"] != "completed":
        raise ConfigError(f"the trial failed here: {again['reason']}")
    return compare(row, again)


def print_entry(entry: dict) -> None:
    value = entry.get("frechet_distance")
    shown = f"Frechet {value:.1f}" if value is not None else f"validation AUROC {entry['validation_auroc']:.3f}"
    print(f"  {entry['stage']} epoch {entry['epoch']}  {shown}", flush=True)


def compare(stored: dict, again: dict) -> int:
    """Print the metrics side by side; returns the exit code."""
    print(f"\n{'metric':<24}{'stored':>14}{'here':>14}")
    differing = 0
    for name in METRICS:
        if stored[name] is None and again.get(name) is None:
            continue
        equal = stored[name] == again.get(name)
        differing += not equal
        print(f"{name:<24}{_number(stored[name]):>14}{_number(again.get(name)):>14}{'' if equal else '   differs'}")
    print(f"\n{'all metrics are equal' if not differing else f'{differing} metrics differ'}")
    return EXIT_DIFFERENT if differing else 0


def _number(value) -> str:
    return "-" if value is None else f"{value:.6g}"
