"""Studies run by the real command, and what they leave on disk."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
from sqlalchemy import URL

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


def run(command: list[str]) -> subprocess.CompletedProcess:
    how = {"cwd": ROOT, "env": clean_environment(), "text": True, "timeout": PATIENCE_S}
    return subprocess.run(command, capture_output=True, **how)


def clean_environment() -> dict:
    """Without an address of somebody else's Ray."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def states(study: Path) -> Counter:
    storage = str(URL.create("sqlite", database=str(study / "optuna.db")))
    return Counter(t.state for t in optuna.load_study(study_name=study.name, storage=storage).trials)


def rows_on_disk(study: Path) -> dict[str, tuple]:
    """Trial id -> when its row was written, and its content."""
    return {path.stem: (path.stat().st_mtime_ns, path.read_bytes()) for path in (study / "trials").glob("*.parquet")}
