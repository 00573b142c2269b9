"""The command is killed, twenty times, and its whole process group ended: what had ended is kept, and it goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState

from results.tables.schema import FINALIST
from study.search.finalists import REPEATS, Finalists, num_finalists
from tests.support.processes import command_of, descendants, wait_until
from tests.support.studies import PATIENCE_S, ROOT, clean_environment, rows_on_disk, run, searched_trials, sweep

STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
A_RAY = """
import sys
import ray
from study.cluster.connect import connect
connect(None)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""

A_JOB_THAT_RESERVES = """
import sys, time
import ray
from ray.util.placement_group import placement_group
from study.cluster.connect import connect

@ray.remote(num_cpus=0)
class Controller:
    def reserve(self, groups):
        for _ in range(groups):
            placement_group([{"CPU": 0.001}])
            time.sleep(0.005)

@ray.remote(num_cpus=0)
class Slot:
    def run(self):
        self.controller = Controller.remote()
        ray.get(self.controller.reserve.remote(1))
        self.controller.reserve.remote(100_000)

connect(sys.argv[1])
ray.get(Controller.options(lifetime="detached").remote().reserve.remote(1))
slots = [Slot.remote() for _ in range(2)]
ray.get([slot.run.remote() for slot in slots])
print("reserves", flush=True)
time.sleep(600)
"""
A_JOB_THAT_FREES = """
import sys, time
import ray
from study.cluster.connect import connect
from study.cluster.private import free_orphans

def held():
    return sum(group["state"] != "REMOVED" for group in ray.util.placement_group_table().values())

connect(sys.argv[1])
before = held()
while held() > int(sys.argv[2]):
    free_orphans()
    time.sleep(0.5)
free_orphans()
time.sleep(2)
print(before, held())
"""


@contextmanager
def started(command: list[str], **more) -> Iterator[subprocess.Popen]:
    """A process in a group of its own, ended at the latest with the block, as Ray's processes end with it."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment() | {"PYTHONPATH": str(ROOT)}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def ray_of_another_process() -> Iterator[str]:
    """The address of a Ray that outlives the commands it serves."""
    with started([sys.executable, "-c", A_RAY], stdin=subprocess.PIPE) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(PATIENCE_S)


def kill_some_time(command: list[str], study: Path, lots: random.Random) -> set[int]:
    """Start the command and kill it at a random time; the processes that were below it.

    At any time of its start, or soon after the first or second row it adds.
    """
    before, rows = len(rows_on_disk(study)), lots.choice((0, 0, 1, 2))
    with started(command) as process:
        wait_until(lambda: len(rows_on_disk(study)) - before >= rows, process)
        moment = time.monotonic() + lots.uniform(0, 3 if rows else 40)
        wait_until(lambda: time.monotonic() > moment, process)
        family = descendants(process.pid)
        process.kill()
        process.wait()
    return family


def resumed(command: list[str], study: Path) -> list[str]:
    """The command that goes on, or starts anew where it was killed before the study existed."""
    return [*command, "--resume"] if (study / "study.json").exists() else command


def wait_for_end_of(processes: set[int], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while left := [command_of(pid) for pid in processes if command_of(pid)]:
        assert time.monotonic() < deadline, f"still there after {seconds} s: {left}"
        time.sleep(0.2)


def check_optuna(study: Path) -> None:
    """Each trial of the search was told what its row says."""
    told = searched_trials(study)
    rows = pd.read_parquet(study / "trials").query("phase in ('paper', 'search')")
    rows = rows.sort_values("trial_id", key=number_of)
    assert number_of(rows["trial_id"]).to_list() == [trial.number for trial in told]
    assert [STATES[status] for status in rows["status"]] == [trial.state for trial in told]
    for values, trial in zip(rows[["frechet_distance", "validation_auroc"]].to_numpy().tolist(), told, strict=True):
        assert trial.values == (values if trial.state == TrialState.COMPLETE else None)


def number_of(trial_ids: pd.Series) -> pd.Series:
    return trial_ids.str.split("-").str[1].astype(int)


def kill_and_resume(command: list[str], study: Path, kills: int, seed: int, check_leftovers: bool) -> None:
    """Kill `kills` commands that go on with one study, then let one run to its end; counts what was lost."""
    lots, kept, started_at = random.Random(seed), {}, time.monotonic()
    for _ in range(kills):
        family = kill_some_time(resumed(command, study), study, lots)
        if check_leftovers:
            wait_for_end_of(family)
        now = rows_on_disk(study)
        assert kept.items() <= now.items(), "a trial that had ended was lost or run again"
        kept = now
    last = run(resumed(command, study))
    assert last.returncode == 0, last.stdout + last.stderr
    assert kept.items() <= rows_on_disk(study).items(), "a trial that had ended was lost or run again"
    print(f"\n{kills} kills in {time.monotonic() - started_at:.0f} s, {len(kept)} of "
          f"{len(rows_on_disk(study))} trials had ended before the last; lost or run again: 0")  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE_S)
@pytest.mark.parametrize(("own_ray", "trials", "kills"), [(True, 15, 6), (False, 30, 14)], ids=["own Ray", "Ray stays"])
def test_killed_command(tmp_path, own_ray, trials, kills):
    """No process of its own Ray outlives it; on a Ray that stays, its trials' CPUs are freed for the next command."""
    with nullcontext() if own_ray else ray_of_another_process() as address:
        command = sweep(tmp_path, trials, *(["--address", address] if address else []))
        study = tmp_path / "sample-smoke"
        kill_and_resume(command, study, kills, seed=int(not own_ray), check_leftovers=own_ray)
    rows = pd.read_parquet(study / "trials").set_index("trial_id")
    assert len(rows) == rows.index.nunique() == len(rows_on_disk(study))
    repeats = rows.loc[rows["phase"] == FINALIST, "confirms"]
    assert len(rows) - len(repeats) == trials + 1
    finalists = Finalists.of_search(num_finalists(trials), rows.to_dict("index"), goes_on=False)
    assert len(repeats) >= finalists.num * REPEATS and finalists.left(goes_on=False) == 0
    check_optuna(study)


def test_what_the_actors_of_killed_jobs_have_reserved_is_freed():
    """Ray marks a group neither with its actor's death nor with its job's where it was reserved just after them."""
    kills = 2
    with ray_of_another_process() as address:
        for _ in range(kills):
            with started([sys.executable, "-c", A_JOB_THAT_RESERVES, address]) as job:
                assert job.stdout.readline() == "reserves\n"
                job.kill()
        with started([sys.executable, "-c", A_JOB_THAT_FREES, address, str(kills)]) as job:
            before, after = job.communicate(timeout=60)[0].split()
    print(f"\n{before} groups held after {kills} kills, {after} after the hunt for orphans")
    assert int(before) > int(after) == kills, "a living actor keeps what it has reserved"


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
def test_signal_to_the_whole_process_group(tmp_path):
    """`timeout` and batch systems send it so: Ray's own processes get it, too, and end before the command can."""
    command, study = sweep(tmp_path, 3), tmp_path / "sample-smoke"
    with started(command) as process:
        wait_until(lambda: rows_on_disk(study), process)
        family, before = descendants(process.pid), rows_on_disk(study)
        sent = time.monotonic()
        os.killpg(process.pid, signal.SIGTERM)
        code, printed = process.wait(PATIENCE_S), process.communicate()[0]
    took = time.monotonic() - sent
    print(f"\nended {took:.1f} s after SIGTERM to its group\n{printed[-1500:]}")
    assert code == 130 and "--resume" in printed.splitlines()[-1] and "Traceback" not in printed
    assert took < 60
    wait_for_end_of(family)
    last = run(resumed(command, study))
    assert last.returncode == 0, last.stdout + last.stderr
    assert before.items() <= rows_on_disk(study).items() and len(rows_on_disk(study)) == 4
    check_optuna(study)
