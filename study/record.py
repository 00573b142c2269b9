"""What is written down of a trial: its row, its history, and where and how it ran."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from results.schema import HISTORY, PREDICTIONS, SCHEMA_VERSION, TRIALS
from results.tables import read_part, write_rows
from study.code_version import ROOT, code_version
from study.config import TrialConfig

if TYPE_CHECKING:
    from data_utils.prepare import Prepared  # takes a second, in each of Ray's processes

LOST = "lost by Ray:"  # begins the reason of a trial that a machine's fault ended, not its own
PACKAGES = ("torch", "torchvision", "timm", "ray", "optuna", "torch-fidelity", "scikit-learn", "numpy", "pyarrow")
PRIVATE_FLAGS = (
    "--data", "--out", "--inception-weights", "--test-data", "--subgroups", "--image-ids", "--group-pattern",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A trial as it is handed to the machine that runs it."""

    study: Path
    prepared: Path
    trial_id: str
    config: TrialConfig
    num_workers: int
    num_threads: int
    columns: dict  # identity, data and command: the same whatever becomes of the trial
    corrupted_tests: bool = False
    external: Path | None = None  # another prepared file, all of which is a test
    proposed_at: float | None = None  # seconds since 1970, of the first of a worker's tasks

    @property
    def gans(self) -> Path:
        return self.study / "gans"

    @property
    def checkpoints(self) -> Path:
        return self.study / "checkpoints" / self.trial_id

    def write_row(self, status: str, reason: str | None, result: dict) -> None:
        """Write the trial's row: one atomic file, replacing an earlier one of the same trial."""
        known = {"study": self.study.name, "trial_id": self.trial_id, "status": status, "reason": reason}
        known |= {"num_workers": self.num_workers, "num_threads": self.num_threads, "schema_version": SCHEMA_VERSION}
        known |= {"arm": self.config.arm, "classifier_key": self.config.classifier_key}
        row = dict.fromkeys(TRIALS.names) | self.config.model_dump() | self.columns | result | known
        write_rows(self.study / "trials" / f"{self.trial_id}.parquet", [row], TRIALS)

    def read_row(self) -> dict | None:
        """The trial's row, null columns left out, or None while it has not ended, or not by itself."""
        path = self.study / "trials" / f"{self.trial_id}.parquet"
        if not path.exists():
            return None
        (row,) = read_part(path, TRIALS).to_pylist()
        if (row["reason"] or "").startswith(LOST):
            return None
        return {name: value for name, value in row.items() if value is not None or name == "reason"}

    def write_history(self, entries: list[dict]) -> None:
        """Write one row for each report so far."""
        rows = [{"study": self.study.name, "trial_id": self.trial_id, **entry} for entry in entries]
        write_rows(self.study / "history" / f"{self.trial_id}.parquet", rows, HISTORY)


    def write_predictions(self, predictions: list[dict]) -> None:
        """Write one row for each image and condition."""
        of_trial = {"study": self.study.name, "trial_id": self.trial_id, "arm": self.config.arm}
        of_trial["seed"] = self.config.seed
        rows = [of_trial | prediction for prediction in predictions]
        write_rows(self.study / "predictions" / f"{self.trial_id}.parquet", rows, PREDICTIONS)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def study_columns(preset: str, objective: str) -> dict:
    """The row's columns that are the same for all trials of a command."""
    return {
        "preset": preset,
        "objective": objective,
        "command": shareable_command(),
        "code_version": code_version(),
    }


def data_columns(prepared: "Prepared") -> dict:
    """The row's columns that tell of the data."""
    return {
        "data_fingerprint": prepared.fingerprint,
        "data_layout": prepared.layout,
        "is_sample_data": prepared.is_sample,
        "split_protocol": prepared.split_protocol,
        "split_seed": prepared.split_seed,
        "num_near_duplicates": prepared.num_near_duplicates,
        "num_skipped_files": prepared.num_skipped,
        "negative_class": prepared.class_names[0],
        "positive_class": prepared.class_names[1],
    }


def machine_columns(device: torch.device) -> dict:
    """The row's columns that tell of the machine this process runs on."""
    return {"hardware": hardware(device), "device": device.type, "versions": versions(), "commit": commit()}


def hardware(device: torch.device) -> str:
    """The GPU's name and memory, or the processor's name and cores."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{_processor_name()}, {os.cpu_count()} cores"


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def versions() -> str:
    """JSON: Python and the packages that the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return json.dumps({"python": platform.python_version(), **found})


@cache
def commit() -> str | None:
    """The commit of the code, with `+changes` where files differ from it; None outside a git checkout."""
    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return run.stdout.strip()

    head = git("rev-parse", "HEAD")
    return head and head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["python", f"study/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def shareable_command() -> str:
    """The command for the tables: paths and patterns of names, which may tell of a patient or a person, become PATH."""
    words = shlex.split(command_line())
    for place in range(2, len(words)):
        flag, equals, _ = words[place].partition("=")
        before = words[place - 1]
        if flag in PRIVATE_FLAGS and equals:
            words[place] = f"{flag}=PATH"
        elif before in PRIVATE_FLAGS or (os.sep in words[place] and before != "--set"):
            words[place] = "PATH"
    return shlex.join(words)
