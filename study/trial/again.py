"""A stored trial run again, for the weights of its classifier."""

import shutil
import tempfile
from pathlib import Path

import torch

from study.errors import ConfigError
from study.gan.code import gan_code_version
from study.trial.classifiers import classifier_file
from study.trial.execute import execute
from study.trial.record import Task, prepared_file, row_config


def train_again(study: Path, row: dict) -> None:
    """Run the trial of a row again on this machine and keep its classifier; the study's trained GAN is used.

    Raises ConfigError where that GAN cannot be used, and where the figures differ from the row: another machine or
    another code trains another network.
    """
    config, key = row_config(row), row["gan_key"]
    if key and not (study / "gans" / key).is_dir():
        raise ConfigError(f"the GAN of {row['trial_id']}, {study / 'gans' / key}, is missing; copy it from the study")
    if key and config.gan_key(row["data_fingerprint"], gan_code_version()) != key:
        raise ConfigError(
            f"the GAN of {row['trial_id']} was trained with other code than is here ({row['code_version']}): another "
            "would be trained. Export with that code, or a trial whose classifier was kept"
        )
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "gans").symlink_to((study / "gans").absolute())
        task = Task(
            study=Path(name),
            prepared=prepared_file(study, row["data_fingerprint"]),
            trial_id=row["trial_id"],
            config=config,
            num_workers=1,
            num_threads=int(row["num_threads"]),
            columns={"phase": "search", "objective": row["objective"]},
        )
        again = execute(task, lambda entry: None, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        figures = ("threshold", "classifier_epoch", "validation_auroc", "test_auroc")
        if different := [name for name in figures if again.get(name) != row[name]]:
            raise ConfigError(
                f"{row['trial_id']} trained again has another {different[0]} ({again.get(different[0])}, not "
                f"{row[different[0]]}): hardware or code differ from {row['hardware']}, {row['code_version']}; "
                "run study/reproduce.py there, or export a trial whose classifier was kept"
            )
        shutil.copyfile(classifier_file(task.study, task.trial_id), classifier_file(study, task.trial_id))
