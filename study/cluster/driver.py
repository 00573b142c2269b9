"""Ray Tune runs a study's trials: `bridge.py` is the launcher's side of a trial, `slot.py` and `worker.py` the other.

As many slots as trials that run at once, small actors on the head node, each start a Ray Train run and keep it. Rows
are the record of what ended: Tune's own snapshots are never read back.
"""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray import tune

from study.cluster.bridge import Bridge, Proposals, StopBadGans
from study.cluster.head import leave_with_head
from study.cluster.resources import Resources
from study.cluster.slots.slot import Slot, ray_folder
from study.errors import StorageFault
from study.gan.store import drop_stopped
from study.progress.display import Display
from study.progress.standing import write_planned
from study.search.proposer import Proposal, Proposer
from study.trial.record import Task

logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost trial has its row and its line
HEAD_SHARE = {"cpu": 0, "node:__internal_head__": 0.001}  # of a slot: it only waits
DRIVER_FAILURES = 3  # of a trial's slot: on a head without memory, actors die


def run_trials(
    proposer: Proposer,
    make_task: Callable[[Proposal], Task],
    resources: Resources,
    time_budget: float | None,
    display: Display,
) -> bool:
    """Run all that the proposer asks for; returns whether Ctrl-C or SIGTERM ended it early, as `time_budget`, in
    seconds, may.

    Each trial that ends leaves a row; a trial that is interrupted leaves its checkpoints and no row; those of stopped
    and diverged GANs are deleted. Raises `study.errors.StorageFault`.
    """
    drop_stopped(proposer.folder)
    stopping = StopBadGans(proposer.rule)
    write_planned(proposer.folder, proposer.part, proposer.num_left(), resources.concurrent, proposer.gans_left())
    bridge = Bridge(proposer, make_task, stopping, display)
    tuner = tune.Tuner(
        tune.with_resources(Slot, HEAD_SHARE),
        tune_config=tune.TuneConfig(
            search_alg=Proposals(bridge),
            scheduler=stopping,
            num_samples=-1,  # until the proposer has no more
            max_concurrent_trials=resources.concurrent,
            time_budget_s=time_budget,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{time.time_ns()}",
            storage_path=str(ray_folder(proposer.folder)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=DRIVER_FAILURES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a slot has none
            callbacks=[bridge],
        ),
        param_space={"resources": resources},
    )
    with interrupts_end_tune() as interrupts, warnings.catch_warnings():
        leave_with_head(ray.get_runtime_context().gcs_address, interrupts, ray.is_initialized, display.close)
        warnings.simplefilter("ignore")  # Tune warns of its own defaults
        try:
            tuner.fit()
        finally:
            display.close()
    if bridge.fault:
        raise StorageFault(bridge.fault)
    drop_stopped(proposer.folder)
    return bool(interrupts)


@contextmanager
def interrupts_end_tune() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end Tune in good order; the list that is yielded grows by each such signal."""
    received = []

    def on_interrupt(number, frame):
        received.append(number)
        os.kill(os.getpid(), signal.SIGUSR1)  # on which Tune ends its loop in good order
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
