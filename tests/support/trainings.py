"""Trainings that are run twice and compared bit for bit."""

from pathlib import Path

import torch

from data_utils.dataset import Dataset
from study.config import GanConfig, make_config, preset
from study.gan.folder import GanFolder
from study.gan.train import train_gan
from study.search.proposer import Search
from study.storage.tensors import read_tensors
from study.training.workers import load_checkpoint

TIMES = {"seconds", "images_per_second", "gan_seconds", "gan_images_per_second", "evaluation_seconds"}
TIMES |= {"classifier_seconds"}
# 3 critic steps an epoch: generator steps and lazy penalties fall on other steps in each epoch.
UNEVEN = {"gan_batch_size": 20, "critic_steps": 2, "penalty_interval": 2, "gan_epochs": 5, "gan_eval_interval": 2}


class Crash(Exception):
    pass


def ignore(entry: dict) -> None:
    pass


def untimed(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if name not in TIMES}


def same(a, b) -> bool:
    """Nested containers agree, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def stored(folder) -> dict:
    """The newest checkpoint: every weight, every optimiser moment, and the history, but no times."""
    state = load_checkpoint(folder, "cpu")
    return untimed(state) | {"history": list(map(untimed, state["history"]))}


def in_gan_folder(config: GanConfig, dataset: Dataset, report, folder: Path) -> dict:
    """`train_gan`, called like `train_classifier`."""
    return train_gan(config, dataset, report, GanFolder(folder))


def run(config: GanConfig, dataset: Dataset, folder: Path, train=in_gan_folder) -> tuple[dict, list[dict]]:
    """Result and reports of a training, without their times."""
    reports = []
    result = train(config, dataset, reports.append, folder)
    return untimed(result), list(map(untimed, reports))


def weights(path: Path) -> dict[str, bytes]:
    """A generator's tensors; the file's header has its keys in any order."""
    return {name: tensor.numpy().tobytes() for name, tensor in read_tensors(path)[0].items()}


SMOKE = make_config(preset("smoke"))


def new_search(folder, fixed=None, objective="pareto", ended=(), base=SMOKE, rows=None, systems=()):
    """A search as a command starts it; `rows` by trial id, and for the trials `ended` made-up ones."""
    measured = {"status": "completed", "frechet_distance": 1.0, "validation_auroc": 0.9}
    made_up = {name: measured | {"phase": name.partition("-")[0]} for name in ended}
    fixed = fixed or {}
    base = make_config(base.model_dump() | fixed)
    return Search(folder, base, fixed, objective, made_up | (rows or {}), systems)
