"""The loggers of `--log`: each writes one ended trial. Nothing leaves the machine unless the logger's own environment
variable names a server. Their packages are heavy and optional, so each is imported where it is used."""

import importlib.util
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import URL

from study.errors import ConfigError
from study.loggers.ended import EndedTrial
from study.storage.atomic import write_atomically

PROJECT = "dfu-gan-study"
MLFLOW_STATUS = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
MLFLOW_BATCH = 1000  # metrics in one request


def to_tensorboard(folder: Path, trial: EndedTrial) -> None:
    """A run in `<study>/tensorboard/<trial_id>`: scalars by epoch, the picture, and the tab of hyperparameters."""
    from torch.utils.tensorboard import SummaryWriter

    place = folder / "tensorboard" / trial.trial_id
    shutil.rmtree(place, ignore_errors=True)  # of an export that was cut off
    with SummaryWriter(place) as writer:
        for stage, epoch, seconds, numbers in trial.history:
            for name, value in numbers.items():
                writer.add_scalar(f"{stage}/{name}", value, epoch, trial.started + seconds)
        for name, text in trial.notes.items():
            writer.add_text(name, text)
        if trial.samples:
            writer.add_image("samples", np.asarray(Image.open(trial.samples).convert("RGB")), dataformats="HWC")
        measured = {f"trial/{name}": value for name, value in trial.metrics.items()}
        writer.add_hparams(trial.settings, measured, run_name=".")


def to_mlflow(folder: Path, trial: EndedTrial) -> None:
    """A run of the study's experiment, at MLFLOW_TRACKING_URI or else in `<study>/mlflow.db`."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not that it makes its tables
    server = os.environ.get("MLFLOW_TRACKING_URI")
    client = MlflowClient(server or URL.create("sqlite", database=str(folder / "mlflow.db")).render_as_string())
    known = client.get_experiment_by_name(trial.study)
    place = None if server else (folder / "mlflow-artifacts").absolute().as_uri()
    experiment = known.experiment_id if known else client.create_experiment(trial.study, place)
    tags = {"trial_id": trial.trial_id, "study_id": study_id(folder)}
    cut_off = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    for run in client.search_runs([experiment], cut_off):
        client.delete_run(run.info.run_id)
    start = int(trial.started * 1000)
    run = client.create_run(experiment, start, trial.notes | tags, trial.trial_id).info.run_id
    metrics = [Metric(name, value, start, 0) for name, value in trial.metrics.items()]
    for stage, epoch, seconds, numbers in trial.history:
        moment = start + int(seconds * 1000)
        metrics += [Metric(f"{stage}/{name}", value, moment, epoch) for name, value in numbers.items()]
    for first in range(0, len(metrics), MLFLOW_BATCH):
        client.log_batch(run, metrics=metrics[first : first + MLFLOW_BATCH])
    client.log_batch(run, params=[Param(name, str(value)) for name, value in trial.settings.items()])
    if trial.samples:
        client.log_artifact(run, str(trial.samples))
    client.set_terminated(run, MLFLOW_STATUS[trial.status])


def to_wandb(folder: Path, trial: EndedTrial) -> None:
    """A run of the group of the study, in `<study>/wandb`; it stays there unless WANDB_MODE=online."""
    import wandb

    quiet = {"console": "off", "silent": True, "x_disable_stats": True}
    private = {"x_disable_meta": True, "disable_git": True, "save_code": False, "host": "-"}  # neither path nor host
    settings = wandb.Settings(mode=os.environ.get("WANDB_MODE", "offline"), **quiet, **private)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT), group=trial.study, id=f"{study_id(folder)}-{trial.trial_id}",
        name=trial.trial_id, dir=folder, config=trial.settings | trial.notes, settings=settings, reinit="create_new",
    )  # fmt: skip
    for stage, epoch, _, numbers in trial.history:
        run.log({f"{stage}/epoch": epoch} | {f"{stage}/{name}": value for name, value in numbers.items()})
    if trial.samples:
        run.log({"samples": wandb.Image(str(trial.samples))})
    run.summary.update(trial.metrics)
    run.finish(exit_code=int(trial.status == "failed"))


def study_id(folder: Path) -> str:
    """Of this study alone: on a server others may have its name."""
    file = folder / "logged" / "id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, uuid.uuid4().hex.encode())
    return file.read_text()


# The names of `--log`; each is also the name of the extra that brings its package, and of that package's module.
LOGGERS: dict[str, Callable[[Path, EndedTrial], None]] = {
    "mlflow": to_mlflow, "tensorboard": to_tensorboard, "wandb": to_wandb,
}  # fmt: skip


def refuse_missing(names: list[str]) -> None:
    """ConfigError where the package of a logger is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        if not found or not found.origin:  # a folder of that name without a package in it has no origin
            raise ConfigError(f"--log {name}: the package is not installed; run pip install -e '.[{name}]'")
