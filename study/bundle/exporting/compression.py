"""The classifier in float and in 8-bit integers side by side: AUROC, size, time."""

import time

import numpy as np
from sklearn.metrics import roc_auc_score

from study.bundle.networks import BATCH, in_batches, new_session, sigmoid

REPETITIONS = 50


def side_by_side(files: dict[str, bytes], sides: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, dict]:
    """Name of the file -> its figures; `sides` are uint8 images (N, 3, S, S) and labels (N,) by name of the side.

    The test side decides nothing here: the bundle holds both files, whatever the figures are.
    """
    return {name: figures(content, name, sides) for name, content in files.items()}


def figures(content: bytes, name: str, sides: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    session = new_session(content, name)
    found = {"bytes": len(content)}
    for side, (images, labels) in sides.items():
        found[f"{side}_auroc"] = float(roc_auc_score(labels, probabilities(session, images, name)))
    batch = np.resize(next(iter(sides.values()))[0], (BATCH, *images.shape[1:]))
    found["milliseconds_one_image"] = milliseconds(session, batch[:1], name)
    found[f"milliseconds_{BATCH}_images"] = milliseconds(session, batch, name)
    return found


def probabilities(session, images: np.ndarray, name: str) -> np.ndarray:
    return sigmoid(in_batches(session.run, ["logits"], images, name)[0])


def milliseconds(session, batch: np.ndarray, name: str) -> float:
    """The median over 50 runs, after three that warm up."""
    seconds = []
    for _ in range(REPETITIONS + 3):
        started = time.perf_counter()
        probabilities(session, batch, name)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[3:]) * 1000)
