"""Two workers of a trial without Ray, killed at random steps, twenty times: what they leave is continued bit for bit.

`test_workers.py` does it to Ray's workers.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from results.tables.store import read_trials
from study.config import make_config
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task
from tests.support.trainings import weights

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")

LONGER = {"gan_epochs": 8, "gan_eval_interval": 2, "classifier_epochs": 5}
MEASURED_ANEW = ("second", "peak_memory_bytes", "started_at")
fork = multiprocessing.get_context("fork")  # a worker's imports take longer than its training here


def worker(rank: int, task: Task, meeting: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    execute(task, lambda entry: None, torch.device("cpu"))
    dist.destroy_process_group()


def start_workers(task: Task, meeting: Path) -> list:
    workers = [fork.Process(target=worker, args=(rank, task, meeting)) for rank in (0, 1)]
    for process in workers:
        process.start()
    return workers


def end(workers: list, seconds: float) -> None:
    """Wait so long for them; then kill those that are left, as Ray does with the others of a worker that has died."""
    deadline = time.monotonic() + seconds
    for process in workers:
        process.join(max(0, deadline - time.monotonic()))
    for process in workers:
        process.kill()
        process.join()


@pytest.fixture
def make_task(prepared_phantoms, tiny_settings, tmp_path):
    """A function: a study's name -> the task of its only trial."""

    def make(study: str) -> Task:
        return Task(
            study=tmp_path / study,
            prepared=prepared_phantoms.path,
            trial_id="search-001",
            config=make_config(tiny_settings | LONGER),
            num_workers=2,
            num_threads=1,
            columns=data_columns(prepared_phantoms) | {"phase": "search", "objective": "pareto"},
        )

    return make


def outcome(task: Task) -> tuple[dict, dict[str, bytes]]:
    """The trial's row without what is measured anew each time, and the weights of its generator."""
    (row,) = read_trials(task.study).astype(object).to_dict("records")
    row = {name: value for name, value in row.items() if not any(part in name for part in (*MEASURED_ANEW, "study"))}
    (path,) = task.gans.glob("*/generator.safetensors")
    return {name: value for name, value in row.items() if value == value}, weights(path)



def run_with_kills(task: Task, kills: int, usual: float, lots: random.Random, folder: Path) -> list[int]:
    """Run a trial to its end, killing at most `kills` workers at random times; the ranks that died."""
    killed = []
    while task.read_row() is None:
        workers = start_workers(task, folder / f"{task.study.name}-{len(killed)}")
        if len(killed) == kills:
            end(workers, 300)
            continue
        workers[0].join(lots.uniform(0, usual / 2))
        rank = lots.choice((0, 1))
        if all(process.is_alive() for process in workers):
            os.kill(workers[rank].pid, signal.SIGKILL)
            killed.append(rank)
            end(workers, lots.uniform(0, 0.2))
        else:
            end(workers, 300)
    return killed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_cost_no_bit(make_task, tmp_path, kills):
    started = time.monotonic()
    whole = make_task("whole")
    end(start_workers(whole, tmp_path / "whole-0"), 300)
    usual = time.monotonic() - started
    expected, killed, lots = outcome(whole), Counter(), random.Random(0)
    assert expected[0]["status"] == "completed" and expected[0]["num_workers"] == 2
    studies = 0
    while killed.total() < kills:
        task = make_task(f"hit-{studies}")
        killed.update(run_with_kills(task, kills - killed.total(), usual, lots, tmp_path))
        assert outcome(task) == expected
        studies += 1
    print(f"\n{kills} kills (rank 0: {killed[0]}, rank 1: {killed[1]}) in {studies} trials of {usual:.1f} s")
