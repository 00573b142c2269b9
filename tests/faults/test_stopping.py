"""Many trials are stopped at once while another one works: their CPUs come back, and nothing of them stays behind."""

import os
import signal
import threading
import time
from collections import Counter

import pytest
import ray
from ray.tune.schedulers import TrialScheduler
from ray.util.state import list_actors

from results.tables.store import read_trials
from study.cluster import connect as ray_cluster
from study.cluster import driver as tune_driver
from study.cluster.bridge import StopBadGans
from study.cluster.private import free_orphans
from study.cluster.resources import Resources
from study.cluster.tasks import TaskMaker
from study.config import make_config
from study.progress.display import Display
from study.search.proposer import FixedTrials, Proposal
from study.trial.provenance import data_columns, study_columns
from tests.support.processes import command_of, descendants

STOPPED, CPUS = 8, 4
# What a slot holds. Its placement groups are Tune's, for the driver, and Ray Train's, for the worker.
OF_A_SLOT = {"CPUs": 1, "placement groups": 2, "workers": 1, "controllers": 1, "worker processes": 1}
LIMIT_S = 30
PATIENCE_S = 900


@pytest.fixture
def four_cpus(monkeypatch):
    """A Ray of this process that takes the machine for one of four CPUs."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)  # put back afterwards as it was
    options = ray_cluster.local_options
    monkeypatch.setattr(ray_cluster, "local_options", lambda: options() | {"num_cpus": CPUS, "include_dashboard": True})
    ray_cluster.connect(None)
    yield
    ray.shutdown()


@pytest.fixture
def all_stoppable_are_stopped(monkeypatch):
    """In their second epoch, whatever their distances."""

    def judge(scheduler, controller, trial, result):
        if trial.config["stoppable"] and result.get("epoch", 0) >= 2:
            scheduler.stopped.add(trial.trial_id)
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    monkeypatch.setattr(StopBadGans, "on_trial_result", judge)


def in_use() -> dict:
    """CPUs, placement groups, Ray Train's actors and its workers' processes."""
    groups = ray.util.placement_group_table().values()
    actors = Counter(actor.class_name for actor in list_actors(filters=[("state", "=", "ALIVE")], limit=1000))
    workers = [pid for pid in descendants(os.getpid()) if command_of(pid).startswith("ray::RayTrainWorker")]
    return {
        "CPUs": CPUS - ray.available_resources().get("CPU", 0),
        "placement groups": sum(group["state"] != "REMOVED" for group in groups),
        "workers": actors["RayTrainWorker"],
        "controllers": actors["TrainController"],
        "worker processes": len(workers),
    }


def seconds_until(slots: int) -> float:
    """How long it takes until no more than so many slots hold anything; at most the limit.

    After the study Ray frees the groups of dead slots when the command ends, else the next command does.
    """
    started, expected = time.monotonic(), {name: slots * number for name, number in OF_A_SLOT.items()}
    while any((left := in_use())[name] > number for name, number in expected.items()):
        if not slots:
            free_orphans()
        assert time.monotonic() - started < LIMIT_S, f"after {LIMIT_S} s there are {left} in place of {expected}"
        time.sleep(0.5)
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.usefixtures("all_stoppable_are_stopped", "four_cpus")
def test_stopped_trials_leave_nothing_behind(prepared_phantoms, tiny_settings, tmp_path):
    base = make_config(tiny_settings | {"gan_epochs": 400})
    bad = [Proposal(f"search-{seed:03}", "search", None, base.model_copy(update={"seed": seed}), True)
           for seed in range(STOPPED)]  # fmt: skip
    endless = base.model_copy(update={"synthetic_ratio": 0.0, "classifier_epochs": 100_000})
    proposals = FixedTrials(tmp_path, base, [*bad, Proposal("baseline-000", "baseline", None, endless)])
    resources = Resources(num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0, concurrent=CPUS)
    columns = study_columns("smoke", "pareto") | data_columns(prepared_phantoms)
    make_task = TaskMaker(tmp_path, prepared_phantoms.path, columns, resources)
    took: list[float] = []

    def watch() -> None:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while len(read_trials(tmp_path)) < STOPPED or not list(tmp_path.glob("checkpoints/baseline-000/*.pt")):
                assert time.monotonic() < deadline, "waited in vain"
                time.sleep(0.5)
            took.append(seconds_until(slots=CPUS))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    interrupted = tune_driver.run_trials(proposals, make_task, resources, None, Display())
    watcher.join()
    assert took and interrupted
    trials = read_trials(tmp_path)
    assert trials["status"].to_list() == ["pruned"] * STOPPED
    assert trials[["started_at", "hardware", "versions", "gan_key", "gan_seconds"]].notna().all(axis=None)
    print(f"\n{STOPPED} stopped: no more than {CPUS} slots hold anything {took[0]:.1f} s after the last row; "
          f"after Ctrl-C in {seconds_until(slots=0):.1f} s")  # fmt: skip
