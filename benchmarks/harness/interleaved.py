"""Timings that can be compared: the sides take turns in one run, and each figure is a ratio with its spread.

A machine's speed drifts; sides that take turns drift together. The ratio is of the minima, since noise only adds time;
its spread is the least and greatest ratio of a turn.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from study.trial.provenance import commit, hardware

FAST_BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # flags of a processor; the first it has is named


def take_turns(
    sides: dict[str, Callable[[], object]], turns: int, device: str = "cpu", warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each side in each turn, after `warm_up` turns that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-warm_up, turns):
        for name, run in sides.items():
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def synchronise(device: str) -> None:
    """Wait for the work that a GPU was given."""
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()


def speedup(reference: list[float], side: list[float]) -> dict[str, float]:
    """How many times faster than the reference: {"ratio", "low", "high"}."""
    turns = [r / s for r, s in zip(reference, side, strict=True)]
    return {"ratio": min(reference) / min(side), "low": min(turns), "high": max(turns)}


def show(speed: dict[str, float]) -> str:
    """`1.48 (1.41-1.52)`."""
    return f"{speed['ratio']:.2f} ({speed['low']:.2f}-{speed['high']:.2f})"


def where(device: str = "cpu") -> dict:
    """Machine, versions, threads and commit, for a benchmark's JSON."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    fast = next((f", {name}" for flag, name in FAST_BFLOAT16.items() if flag in flags), "")
    return {
        "machine": hardware(torch.device(device)) + fast,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }


def report(rows: list[tuple[str, str, str]], result: dict, device: str = "cpu") -> None:
    """Print (what, measured, must reach) rows as a table of 80 columns, and all of `result` as the last line.

    Of a path only the name is printed.
    """
    place = where(device)
    print(f"{place['machine']}, {place['threads']} thread(s), torch {place['torch']}, commit {place['commit']}\n")
    print(f"{'':<38}{'measured':>22}{'must reach':>16}")
    for what, measured, bound in rows:
        print(f"{what:<38}{measured:>22}{bound:>16}")
    print(json.dumps({**place, **result}, default=lambda path: path.name))
