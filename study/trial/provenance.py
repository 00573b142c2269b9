"""Where a trial's numbers come from: code, command, data, machine and versions. Works without Git."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from data_utils.prepared import Prepared  # takes a second, in each of Ray's processes

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "timm", "ray", "optuna", "torch-fidelity", "scikit-learn", "numpy", "pyarrow")
PRIVATE_FLAGS = (
    "--data", "--out", "--inception-weights", "--test-data", "--subgroups", "--image-ids", "--group-pattern",
)  # fmt: skip


@cache
def code_version() -> str:
    """12 hex digits that change with any source file of the four packages."""
    digest = hashlib.sha256()
    for package in ("data_utils", "models", "results", "study"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def study_columns(preset: str, objective: str) -> dict:
    """The columns that are the same in every row of a command."""
    return {
        "preset": preset,
        "objective": objective,
        "command": shareable_command(),
        "code_version": code_version(),
    }


def data_columns(prepared: "Prepared") -> dict:
    """The columns that describe the data."""
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
    """The columns that describe the machine this process runs on."""
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
    """The versions of Python and of the packages that the numbers depend on, as JSON."""
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
    program = Path(sys.argv[0])
    # study/__main__.py has put `dfu-study sweep` or `python -m study sweep` there.
    words = ["python", f"study/{program.name}"] if program.suffix == ".py" else sys.argv[0].split()
    return shlex.join([*words, *sys.argv[1:]])


def shareable_command() -> str:
    """The command as the tables hold it: paths and patterns, which may name a person, are replaced by PATH."""
    words = shlex.split(command_line())
    for place in range(2, len(words)):
        flag, equals, _ = words[place].partition("=")
        before = words[place - 1]
        if flag in PRIVATE_FLAGS and equals:
            words[place] = f"{flag}=PATH"
        elif before in PRIVATE_FLAGS or (os.sep in words[place] and before != "--set"):
            words[place] = "PATH"
    return shlex.join(words)
