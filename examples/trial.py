"""One trial from Python, without Ray: a GAN and a classifier on the embedded sample data.

    python examples/trial.py                                    about a minute, on one core
    python examples/trial.py gan_epochs=60 synthetic_ratio=2    with other fields of the config
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from data_utils.dataset import load_dataset, training_subset
from data_utils.errors import DataError
from data_utils.prepare import prepare
from study.config import make_config, parse_assignments, preset
from study.errors import ConfigError
from study.flags.cli import EXIT_USER_ERROR, print_error
from study.gan.folder import GanFolder
from study.trial.run import check_fits, check_networks, run_trial

GANS = Path("runs/example/gans")  # a trained GAN is kept there, and used again by a trial with the same GAN
SHORT = {"gan_epochs": 20, "measure_fid": False}  # too short for good images
SHOWN = ("frechet_distance", "frechet_floor", "validation_auroc", "test_auroc", "test_accuracy", "seconds")


def main(assignments: list[str]) -> int:
    try:
        config = make_config(preset("smoke") | SHORT | parse_assignments(assignments))
        prepared = prepare(None, Path("runs/prepared"), image_size=config.image_size)
        check_networks([config])
        dataset = load_dataset(prepared.path, config.image_size)
        check_fits(config, len(training_subset(dataset, *config.training_groups).side("train").labels), num_workers=1)
    except (ConfigError, DataError) as error:
        print_error(error)
        return EXIT_USER_ERROR
    torch.set_num_threads(1)  # the networks are small: more threads would wait for each other
    with TemporaryDirectory() as checkpoints:
        result = run_trial(config, dataset, print_report, GANS, Path(checkpoints))
    print(*(f"{name:<17} {result[name]:.3f}" for name in SHOWN if name in result), sep="\n")
    if config.uses_gan:
        print(f"{'synthetic images':<17} {GanFolder(GANS / result['gan_key']).samples}")
    return 0


def print_report(entry: dict) -> None:
    measured = {name: entry[name] for name in ("frechet_distance", "validation_auroc") if entry.get(name)}
    print(entry["stage"], "epoch", entry["epoch"], *(f"{name} {value:.3f}" for name, value in measured.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
