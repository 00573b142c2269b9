"""Memory of a trial: batches that do not fit are halved, freed memory is kept, each trial has its own peak.

The GPU's out-of-memory error is raised by hand.
"""

import os
import subprocess
import sys

import pytest
import torch

from results.tables.store import read_table
from study.cluster.slots.slot import ONE_ARENA
from study.config import make_config
from study.diagnosis import train as diagnosis
from study.errors import Diverged
from study.gan.folder import GanFolder
from study.gan.step import GanTraining
from study.storage.sealed import read_json
from study.training.memory import NOTE, within_memory
from study.trial.execute import execute
from study.trial.record import Task
from study.trial.run import run_trial

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small_memory(monkeypatch):
    """Lets the critic's objective take up to `limit` images from its call number `first` on; returns their numbers."""
    sizes, objective = [], GanTraining.critic_objective

    def limited(limit: int, first: int = 1) -> list[int]:
        def critic_objective(training, real, *rest):
            sizes.append(len(real))
            if len(real) > limit and len(sizes) >= first:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
            return objective(training, real, *rest)

        monkeypatch.setattr(GanTraining, "critic_objective", critic_objective)
        return sizes

    return limited


@pytest.fixture
def run(tiny_settings, phantoms, tmp_path, pixel_quality):
    """Runs a tiny trial; returns its result."""

    def run() -> dict:
        config = make_config(tiny_settings | {"gan_epochs": 1, "classifier_epochs": 1})
        return run_trial(config, phantoms, lambda entry: None, tmp_path / "gans", tmp_path / "checkpoints")

    return run


@pytest.mark.parametrize(("limit", "pieces", "sizes"), [(16, 1, {16}), (8, 2, {8})])
def test_a_batch_is_halved_only_if_it_does_not_fit(small_memory, run, limit, pieces, sizes):
    seen = small_memory(limit)
    result = run()
    assert result["micro_batches"] == pieces and result["gan_epoch"] == 1
    assert seen[0] == 16 and set(seen[1:]) == sizes


def test_a_trial_fails_with_the_reason_if_halves_do_not_fit(small_memory, run):
    small_memory(limit=4)
    with pytest.raises(Diverged, match=r"out of memory.*Tried to allocate 2.00 GiB"):
        run()


def test_trainings_that_ran_out_of_memory_have_one_history_row_an_epoch(
    small_memory, tiny_settings, prepared_phantoms, tmp_path, pixel_quality, monkeypatch
):
    """The second attempt of each training reports the epochs of the first one again."""
    small_memory(limit=8, first=6)  # an epoch has 4 critic steps
    run_epoch = diagnosis.run_epoch

    def classifier_epoch(config, model, optimiser, train, epoch, frozen, micro_batches):
        if epoch == 2 and micro_batches == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_epoch(config, model, optimiser, train, epoch, frozen, micro_batches)

    monkeypatch.setattr(diagnosis, "run_epoch", classifier_epoch)
    config = make_config(tiny_settings | {"gan_epochs": 3, "classifier_epochs": 3})
    task = Task(tmp_path, prepared_phantoms.path, "search-000", config, 1, 1, {})
    assert execute(task, lambda entry: None, torch.device("cpu"))["micro_batches"] == 2
    rows = read_table(tmp_path, "history")
    assert list(zip(rows["stage"], rows["epoch"], strict=True)) == [
        (stage, epoch) for stage in ("gan", "classifier") for epoch in (1, 2, 3)
    ]
    (folder,) = task.gans.iterdir()
    assert [entry["epoch"] for entry in read_json(GanFolder(folder).result)["history"]] == [1, 2, 3]


def test_the_next_process_halves_batches_too(tmp_path):
    (tmp_path / NOTE).touch()
    assert within_memory(tmp_path, lambda pieces: {"pieces": pieces}) == {"pieces": 2, "micro_batches": 2}


def test_several_workers_are_started_again_by_their_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr("study.training.memory.num_workers", lambda: 2)

    def train(pieces):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        within_memory(tmp_path, train)
    assert (tmp_path / NOTE).exists()
    with pytest.raises(torch.OutOfMemoryError):  # of halves
        within_memory(tmp_path, train)
    with pytest.raises(Diverged, match="even with half of a batch at a time: CUDA out of memory"):
        within_memory(tmp_path, train)


# ---- in processes of their own

PAGE_FAULTS_OF_A_LATER_PASS = """
import resource, threading, torch
from study.training.memory import keep_freed_memory
def run():
    torch.set_num_threads(1)
    if {keep}:
        assert keep_freed_memory()
    layers = [torch.nn.Conv2d(*channels, 3, padding=1) for channels in ((3, 8), (8, 16), (16, 8), (8, 24), (24, 3))]
    faults = []
    for _ in range(6):
        before, maps = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, torch.ones(128, 3, 64, 64)
        with torch.no_grad():
            for layer in layers:
                maps = layer(maps).relu()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(min(faults[1:]))  # a small block in the wrong place may cost one pass another map
if {in_thread}:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
"""
PEAK_OF_A_SECOND_TRIAL = """
import torch
from study.training.memory import keep_freed_memory, peak_memory, reset_peak_memory
if {keep}:
    keep_freed_memory()
device = torch.device("cpu")
reset_peak_memory(device)
at_start = peak_memory(device)
large = torch.ones(300 * 2**18)  # 300 MiB
del large
reset_peak_memory(device)
small = torch.ones(30 * 2**18)
print(peak_memory(device) - at_start)
"""


def run_in_a_process(code: str, environment: dict[str, str], **values) -> int:
    command, env = [sys.executable, "-c", code.format(**values)], os.environ | environment
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize("in_thread", [False, True])
def test_freed_pages_are_used_again(in_thread):
    """Ray Train trains in a thread; there it takes the environment of a slot's workers as well."""
    environment = ONE_ARENA if in_thread else {}
    assert run_in_a_process(PAGE_FAULTS_OF_A_LATER_PASS, environment, keep=True, in_thread=in_thread) < 50
    assert run_in_a_process(PAGE_FAULTS_OF_A_LATER_PASS, {}, keep=in_thread, in_thread=in_thread) > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("keep", [True, False])
def test_the_peak_of_a_trial_leaves_out_earlier_trials(keep):
    assert 25 * 2**20 < run_in_a_process(PEAK_OF_A_SECOND_TRIAL, {}, keep=keep) < 60 * 2**20
