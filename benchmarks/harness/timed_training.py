"""Trains for a given time and writes what the generator makes at parts of it; imports nothing of the study.

So that a package with an environment of its own can be timed like the others.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MARKS = (0.25, 0.5, 1.0)  # of the time
PIXELS = "pixels"  # the folder of PNG files


def peer_parser(doc: str) -> argparse.ArgumentParser:
    """The command line of a process that trains a peer."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("folder", type=Path, help=f"holds images.npy, labels.npy and the same images in {PIXELS}/")
    parser.add_argument("--seconds", type=float, required=True, help="of training")
    parser.add_argument("--images", type=int, required=True, help="made at each mark")
    parser.add_argument("--device", default="cpu")
    return parser


def train_for(seconds: float, step: Callable[[], int], sample: Callable[[], np.ndarray], folder: Path) -> None:
    """Call `step` while the next one would still end in time, judged by the last; the clock stands while sampling.

    `step` trains a little and returns the number of real images it saw. At each of `MARKS`, uint8 images
    (N, 3, S, S) of `sample` go to `MARK.npy`, and all of (mark, seconds, real images) to `training.json`.
    """
    spent = last = seen = 0.0
    curve = []
    for mark in MARKS:
        while spent + last <= mark * seconds:
            started = time.perf_counter()
            seen += step()
            last = time.perf_counter() - started
            spent += last
        np.save(folder / f"{mark}.npy", sample())
        curve.append({"mark": mark, "seconds": spent, "real_images": int(seen)})
    (folder / "training.json").write_text(json.dumps(curve), encoding="utf-8")
