"""What a study is from its first command to its last resumption, and the folder that holds it to that."""

import json
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from data_utils.prepare import Prepared
from models.feature_extractor import default_extractor_name
from study.autoscaler import autoscaled_resources
from study.config import ConfigError, TrialConfig, make_config, parse_assignments, preset


@dataclass(frozen=True)
class StudySettings:
    """What a study is; the same from its first command to its last resumption, except for the number of trials."""

    preset: str
    fixed: dict
    objective: str
    base: TrialConfig

    @classmethod
    def resolve(cls, options: Namespace) -> "StudySettings":
        """Preset, `--set` and `--seed` -> the config that every trial starts from. Raises ConfigError."""
        _, cluster_gpus = autoscaled_resources() or (0, 0)
        has_gpu = torch.cuda.is_available() or bool(options.gpus_per_trial or cluster_gpus)
        name = options.preset or ("search" if has_gpu else "smoke")
        fixed = parse_assignments(options.set)
        here = {
            "feature_extractor": default_extractor_name(options.inception_weights),
            "precision": "bfloat16" if cluster_gpus or has_fast_bfloat16() else "float32",
            "seed": options.seed,
        }
        base = make_config(preset(name) | here | fixed)
        if not base.uses_gan:
            raise ConfigError("synthetic_ratio=0 leaves nothing to search: the real-only baseline runs in every study")
        return cls(name, {field: getattr(base, field) for field in fixed}, options.objective, base)

    def record(self, prepared: Prepared) -> dict:
        """What `study.json` holds."""
        return {
            "preset": self.preset,
            "fixed": self.fixed,
            "objective": self.objective,
            "config": self.base.model_dump(),
            "data_fingerprint": prepared.fingerprint,
            "split_protocol": prepared.split_protocol,
        }


def has_fast_bfloat16() -> bool:
    """Whether matrix products in bfloat16 are fast here: tensor cores, or AMX on a processor."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def lock_study(folder: Path, record: dict, resume: bool) -> FileLock:
    """The lock of a new study's folder, or of the same study's when resuming; ConfigError otherwise."""
    file = folder / "study.json"
    if file.exists() and not resume:
        raise ConfigError(f"the study {folder} exists; add --resume to go on with it, or choose another --name")
    if resume and not file.exists():
        raise ConfigError(f"--resume: there is no study at {folder}; leave the flag out to start it")
    lock = hold(folder)
    if file.exists():
        refuse_other_settings(folder, record)
    return lock


def hold(folder: Path) -> FileLock:
    """The lock of a study's folder; ConfigError when another command holds it."""
    lock = FileLock(folder / "driver.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another command is at work on {folder}; wait, or choose another study") from None
    return lock


def stored_settings(folder: Path) -> dict:
    """What `StudySettings.record` wrote down; ConfigError where that is missing or damaged."""
    file = folder / "study.json"
    try:
        stored = json.loads(file.read_text())
        # Fields that came later have done until then what their default says.
        return stored | {"config": make_config(stored["config"]).model_dump()}
    except FileNotFoundError:
        raise ConfigError(f"{folder} is not a study: it has no study.json") from None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{file} is damaged; move the study away and start it anew") from None


def refuse_other_settings(folder: Path, record: dict) -> None:
    """ConfigError naming what differs between a study on disk and the command that wants to resume it."""
    ours, theirs = ({**r, **r["config"]} for r in (record, stored_settings(folder)))
    fields = [key for key in ours if key not in ("config", "fixed")]  # which are named one by one
    differing = [f"{key} was {theirs.get(key)}, is {ours[key]}" for key in fields if ours[key] != theirs.get(key)]
    if differing:
        raise ConfigError(f"--resume: the study {folder} was made otherwise: {'; '.join(differing)}")
