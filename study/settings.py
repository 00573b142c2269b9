"""What a study is from its first command to its last resumption, and the folder that holds it to that."""

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from data_utils.prepared import Prepared
from study.cluster.resources import autoscaled_machines, named_machines, totals
from study.config import DEFAULT_SYSTEMS, TrialConfig, make_config, parse_assignments, preset
from study.errors import ConfigError, Damaged, refuse_no_study
from study.search.space import SPACE
from study.storage.lock import hold
from study.storage.sealed import read_json, warn_and_set_aside, write_json


@dataclass(frozen=True)
class StudySettings:
    """What a study is; the same from its first command to its last resumption, except for the number of trials."""

    preset: str
    fixed: dict
    objective: str
    base: TrialConfig
    systems: tuple[str, ...]

    @classmethod
    def resolve(cls, options: Namespace, stored: dict | None = None) -> "StudySettings":
        """Preset, `--set` and `--seed` -> the config that every trial starts from. Raises ConfigError.

        `stored`: the settings of the study that is resumed. They, not this machine, decide what the user left out.
        """
        name, machine = defaults_of_machines(options)
        if stored:
            name = stored["preset"]
            machine = {field: stored["config"][field] for field in ("precision", "feature_extractor")}
        if options.inception_weights:
            machine["feature_extractor"] = "inception"
        name, systems = options.preset or name, options.systems
        if systems is None:
            systems = tuple(stored["systems"]) if stored else DEFAULT_SYSTEMS
        given = parse_assignments(options.set) | ({"measure_fid": False} if options.no_fid else {})
        fixed = (stored["fixed"] if stored else {}) | given
        base = make_config(preset(name) | machine | {"seed": options.seed} | fixed)
        if not base.uses_gan:
            raise ConfigError("synthetic_ratio=0 leaves nothing to search: the real-only baseline runs in every study")
        if base.balance != "none":
            raise ConfigError(f"balance={base.balance} is an arm of study/benchmark.py --positives, not of a search")
        # Other generators have neither; a study that was begun so keeps its search.
        others = () if stored or base.generator == "recurrent" else ("backbone", "lstm_depth")
        fixed = {field: getattr(base, field) for field in (*fixed, *others)}
        return cls(name, fixed, options.objective, base, systems)

    def record(self, prepared: Prepared) -> dict:
        """What `study.json` holds."""
        return {
            "preset": self.preset,
            "fixed": self.fixed,
            "objective": self.objective,
            "systems": list(self.systems),
            "config": self.base.model_dump(),
            "data_fingerprint": prepared.fingerprint,
            "split_protocol": prepared.split_protocol,
        }


def defaults_of_machines(options: Namespace) -> tuple[str, dict]:
    """Preset and precision for the machines that run the trials; on a cluster, the head's own GPU does not count."""
    rented = autoscaled_machines()
    if rented is not None:
        has_gpu = fast = totals(rented).gpus > 0
    elif options.address or os.environ.get("RAY_ADDRESS") or named_machines():
        has_gpu = fast = bool(options.gpus_per_trial)
        if not (has_gpu or options.resume):
            say_defaults_for_cpus(options)
    else:
        has_gpu, fast = torch.cuda.is_available(), has_fast_bfloat16()
    preset_name = "search" if has_gpu or options.gpus_per_trial else "smoke"
    return preset_name, {"precision": "bfloat16" if fast else "float32"}


def say_defaults_for_cpus(options: Namespace) -> None:
    """Name the defaults that suit a cluster's CPUs, without what the user has chosen."""
    fixed = parse_assignments(options.set)
    choices = {"--preset search": options.preset, "--set precision=bfloat16": fixed.get("precision")}
    if left := [flag for flag, given in choices.items() if not given]:
        print("The cluster's GPUs are not known yet, so the defaults are those for CPUs.")
        print(f"For GPUs, add {' '.join(left)}.")


def has_fast_bfloat16() -> bool:
    """Whether matrix products in bfloat16 are fast here: tensor cores, or a processor with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@contextmanager
def lock_study(folder: Path, record: dict, resume: bool) -> Iterator[None]:
    """Hold the lock of a study's folder. ConfigError if the study exists and is not resumed with these settings."""
    file = folder / "study.json"
    if file.exists() and not resume:
        raise ConfigError(f"the study {folder} exists; add --resume to continue it, or choose another --name")
    with hold(folder):
        if file.exists():
            refuse_other_settings(folder, record)
        yield


def write_settings(folder: Path, record: dict) -> None:
    """Write `study.json`, and a copy in case it is damaged."""
    for file in (spare(folder), folder / "study.json"):
        write_json(file, record)


def spare(folder: Path) -> Path:
    return folder / "proposals" / "study.json"


def stored_settings(folder: Path) -> dict:
    """What `write_settings` wrote. ConfigError if it is missing, or damaged beyond mending."""
    refuse_no_study(folder, "study.json")
    try:
        stored = read_json(folder / "study.json")
    except Damaged as damage:
        stored = mended_settings(folder, damage)
    # A field that was added later has its default.
    return stored | {"config": make_config(stored["config"]).model_dump()}


def peek_settings(folder: Path) -> dict | None:
    """The stored settings, or None if they are damaged: only a command that holds the lock may mend them."""
    try:
        return read_json(folder / "study.json")
    except Damaged:
        return None


def mended_settings(folder: Path, damage: Damaged) -> dict:
    """The settings of the copy, which replaces the damaged file."""
    try:
        stored = read_json(spare(folder))
    except (FileNotFoundError, Damaged):
        raise ConfigError(f"{damage}; so is its copy; move the study away and start it anew") from None
    warn_and_set_aside(damage.path, f"{spare(folder)} has taken its place")
    write_json(damage.path, stored)
    return stored


def refuse_other_settings(folder: Path, record: dict) -> None:
    """ConfigError if the command that resumes a study has other settings; it names them and the flags to give."""
    stored = stored_settings(folder)
    ours, theirs = ({**r, **r["config"]} for r in (record, stored))
    fields = [key for key in ours if key not in ("config", "fixed") and ours[key] != theirs.get(key)]
    if not fields:
        refuse_another_space(folder, *(SPACE.keys() & r["fixed"] for r in (record, stored)), theirs)
        return
    if {"image_size", "split_protocol"} & set(fields):  # which the fingerprint depends on
        fields = [key for key in fields if key != "data_fingerprint"]
    other_data = "data_fingerprint" in fields
    differing = "; ".join(
        "the photographs, their groups or --split-seed differ"
        if key == "data_fingerprint"
        else f"{key} was {theirs.get(key)}, is {ours[key]}"
        for key in fields
    )
    flags = {"preset": "--preset ", "seed": "--seed ", "objective": "--objective ", "split_protocol": "--split "}
    flags = {field: f"--set {field}=" for field in record["config"]} | flags
    named = ["preset"] if "preset" in fields else fields  # a preset brings its fields along
    given = " ".join(f"{flags[key]}{theirs[key]}" for key in named if key in flags and key in theirs)
    way_out = f"; give {given}, as the study was started with" if given else ""
    way_out += "; to study these photographs, choose another --name" if other_data else ""
    raise ConfigError(f"--resume: the study {folder} has other settings: {differing}{way_out}")


def refuse_another_space(folder: Path, fixed: set[str], fixed_before: set[str], stored: dict) -> None:
    """ConfigError if the command fixes other parameters of the search than its study does, at the same values."""
    if added := sorted(fixed - fixed_before):
        raise ConfigError(
            f"--resume: the study {folder} searches {', '.join(added)}; leave out --set {added[0]}=..., or choose "
            "another --name"
        )
    if missing := sorted(fixed_before - fixed):
        raise ConfigError(
            f"--resume: the study {folder} does not search {', '.join(missing)}; give "
            + " ".join(f"--set {name}={stored[name]}" for name in missing)
        )
