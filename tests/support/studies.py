"""Studies run by the real command, and what they leave on disk."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pyarrow.parquet as pq
import pytest
import torch
from sqlalchemy import URL

from results.tables.schema import TRIALS
from results.tables.store import write_rows
from study.config import make_config
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task
from tests.support.features import PixelQuality

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "gan_epochs=2", "gan_eval_interval=1", "eval_images=16", "critic_steps=1", "decoder_width=16", "critic_width=8",
    "measure_fid=false", "lstm_width=8", "classifier_epochs=1", "classifier_width=8", "classifier_lstm_width=8",
)  # fmt: skip
PATIENCE_S = 900  # a busy machine takes several times what a free one does


def sweep(out: Path, trials: int, *more: str) -> list[str]:
    settings = ["--systems", "none"]
    settings += [word for assignment in TINY for word in ("--set", assignment)]
    command = [sys.executable, "study/run_sweep.py", "--preset", "smoke", "--trials", str(trials)]
    return [*command, *settings, "--out", str(out), *more]


def run(command: list[str], cpus: int | None = None) -> subprocess.CompletedProcess:
    """Run it to its end; `cpus`: all that Ray finds here. With one, a study of short trials starts one slot."""
    environment = clean_environment()
    if cpus:
        environment["RAY_OVERRIDE_RESOURCES"] = json.dumps({"CPU": cpus})
    how = {"cwd": ROOT, "env": environment, "text": True, "timeout": PATIENCE_S}
    return subprocess.run(command, capture_output=True, **how)


def clean_environment() -> dict:
    """Without an address of somebody else's Ray."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def searched_trials(study: Path) -> list[optuna.trial.FrozenTrial]:
    """What Optuna's file holds of a study."""
    storage = str(URL.create("sqlite", database=str(study / "optuna.db")))
    return optuna.load_study(study_name=study.name, storage=storage).trials


def states(study: Path) -> Counter:
    return Counter(trial.state for trial in searched_trials(study))


def trained_study(out: Path, data, settings: dict, trials: dict[str, tuple[dict, dict]]) -> Path:
    """A study of trials that ran in this process; `trials`: id -> fields and columns that it sets."""
    study, prepared = out / "study", out / "prepared" / data.path.name
    prepared.parent.mkdir()
    shutil.copyfile(data.path, prepared)
    shared = {"phase": "search", "objective": "pareto", "command": "none", **data_columns(data)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.gan.train.GanQuality", PixelQuality)
        for trial_id, (fields, columns) in trials.items():
            task = Task(study, prepared, trial_id, make_config(settings | fields), 1, 1, shared | columns)
            assert execute(task, lambda entry: None, torch.device("cpu"))["status"] == "completed"
    return study


def change_row(study: Path, trial_id: str, **values) -> None:
    path = study / "trials" / f"{trial_id}.parquet"
    write_rows(path, [pq.read_table(path).to_pylist()[0] | values], TRIALS)


def rows_on_disk(study: Path) -> dict[str, tuple]:
    """Trial id -> when its row was written, and its content."""
    return {path.stem: (path.stat().st_mtime_ns, path.read_bytes()) for path in (study / "trials").glob("*.parquet")}
