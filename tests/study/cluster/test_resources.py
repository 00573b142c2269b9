"""CPUs and GPUs divided among trials."""

import math

import pytest

from study.cluster.resources import Machine, Resources, share_out
from study.errors import ConfigError


@pytest.mark.parametrize(
    ("cpus", "gpus", "trials", "workers", "gpus_per_trial", "expected"),
    [  # (workers a trial, CPUs a worker, GPUs a worker, trials at once)
        (2, 0, 9, 1, None, (1, 1, 0, 2)),
        (1, 0, 9, 1, None, (1, 1, 0, 1)),
        (8, 0, 3, 1, None, (1, 2, 0, 3)),
        (8, 0, 1, 1, None, (1, 8, 0, 1)),
        (8, 0, 40, 3, None, (3, 1, 0, 2)),
        (2, 0, 40, 2, None, (2, 1, 0, 1)),
        (16, 4, 40, 1, None, (1, 4, 1, 4)),
        (16, 4, 40, 2, None, (2, 4, 1, 2)),
        (16, 1, 40, 1, 0.25, (1, 4, 0.25, 4)),
        (2, 1, 40, 1, 0.1, (1, 1, 0.1, 2)),
        (16, 2, 40, 1, 0.4, (1, 4, 0.4, 4)),  # 0.2 of each GPU stay free: no trial spans two
        (64, 4, 40, 1, 0.6, (1, 16, 0.6, 4)),
        (16, 4, 40, 1, 0.0, (1, 1, 0, 16)),
        (4, 4, 40, 2, 4.0, (2, 2, 2, 1)),
    ],
)
def test_share_out(cpus, gpus, trials, workers, gpus_per_trial, expected):
    found = share_out([Machine(cpus, gpus)], trials, workers, gpus_per_trial)
    assert found == Resources(*expected)
    assert found.device == ("cuda" if expected[2] else "cpu")


def test_nothing_is_shared_out_twice_and_something_always_runs():
    for cpus in range(1, 9):
        for gpus in range(5):
            for workers in range(1, cpus + 1):
                for gpus_per_trial in (0.0, 0.5, *map(float, range(1, gpus + 1))):
                    per_worker = gpus_per_trial / workers
                    if gpus_per_trial > gpus or (per_worker % 1 and (per_worker > 1 or workers > 1)):
                        continue
                    found = share_out([Machine(cpus, gpus)], 40, workers, gpus_per_trial)
                    assert found.concurrent >= 1 and found.cpus_per_worker >= 1
                    assert found.concurrent * found.num_workers * found.cpus_per_worker <= cpus
                    assert found.concurrent * gpus_per_trial <= gpus
                    assert math.isclose(found.gpus_per_worker * workers, gpus_per_trial)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "gpus_per_trial", "needed"),
    [
        (2, 0, 3, None, r"workers-per-trial 3 .*2 CPU\(s\)"),
        (2, 0, 1, 1.0, r"1 GPU\(s\) .*Ray has 0; .*--gpus-per-trial"),
        (16, 1, 2, None, r"2 GPU\(s\) for a trial's 2 worker\(s\) .*Ray has 1; ask for fewer"),
        (16, 4, 1, 8.0, r"8 GPU\(s\) .*Ray has 4"),
        (16, 4, 2, 3.0, "3 over 2 workers is 1.5 each"),
    ],
)
def test_more_than_there_is_is_refused_with_numbers(cpus, gpus, workers, gpus_per_trial, needed):
    with pytest.raises(ConfigError, match=needed):
        share_out([Machine(cpus, gpus)], 9, workers, gpus_per_trial)


RENTED = [Machine(8, 1.0)] * 8
MIXED = [Machine(16, 0.0), Machine(8, 1.0)]


@pytest.mark.parametrize(
    ("machines", "trials", "workers", "gpus_per_trial", "expected"),
    [
        (RENTED, 4, 1, None, (1, 8, 1, 4)),
        (RENTED, 4, 1, 0.25, (1, 8, 0.25, 4)),
        (RENTED, 40, 1, 0.25, (1, 2, 0.25, 32)),
        (RENTED, 40, 2, None, (2, 8, 1, 4)),
        (MIXED, 40, 1, 0.5, (1, 4, 0.5, 2)),
        (MIXED, 40, 1, 0.0, (1, 1, 0, 24)),
        ([Machine(8, 0.0)] * 3, 1, 1, None, (1, 8, 0, 1)),
        ([Machine(3, 0.0), Machine(5, 0.0)], 2, 2, None, (2, 1, 0, 2)),
        ([Machine(0, 0.0), Machine(2, 0.0)], 9, 2, None, (2, 1, 0, 1)),
    ],
)
def test_no_worker_gets_more_than_a_machine_has(machines, trials, workers, gpus_per_trial, expected):
    found = share_out(machines, trials, workers, gpus_per_trial)
    assert found == Resources(*expected)
    places = sum(machine.workers(found.cpus_per_worker, found.gpus_per_worker) for machine in machines)
    assert places >= found.concurrent * found.num_workers


def test_workers_of_one_trial_do_not_share_a_gpu():
    with pytest.raises(ConfigError, match=r"0\.5 each.*--gpus-per-trial 2 or --workers-per-trial 1"):
        share_out([Machine(16, 4.0)], 9, 2, 1.0)


def test_gpus_without_room_beside_them_are_refused():
    with pytest.raises(ConfigError, match=r"workers-per-trial 2 with 1 GPU\(s\) each .*room on its machines for 1"):
        share_out([Machine(1, 2.0), Machine(16, 0.0)], 9, 2, None)
