"""A slot: an actor of Tune that starts one Ray Train run and keeps it from trial to trial.

Ray would start seven processes for each trial of Tune with a run of Ray Train in it, most of which import torch. So
Tune hands a slot its next trial (`reuse_actors`), the slot hands the trial's task to the run's workers through a
mailbox, and their reports come back through it. Only the workers import torch: Tune's actor and Ray Train's controller
would take 450 MB each with it, and twice as long to start.
"""

import threading
import time
from pathlib import Path

import ray
from ray import train, tune
from ray.train import UserCallback
from ray.tune.result import DONE
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.private import LeanTrainer
from study.cluster.resources import Resources
from study.cluster.slots.mailbox import Mailbox
from study.cluster.slots.process_group import OwnAddressConfig
from study.cluster.slots.worker import work

COLLECTIVE_TIMEOUT_S = 24 * 3600  # workers wait while another trial trains the GAN that they share
# Of a trial: a long one may lose several spot machines, while its workers train and, counted apart, while they start.
WORKER_FAILURES = 10
FAREWELL_S = 5.0
# Environment of a process that trains in a thread, as Ray Train does: glibc gives threads memory of their own, of which
# `study.training.memory.keep_freed_memory` keeps little. It must be there when the process starts.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


def ray_folder(study: Path) -> Path:
    """Where Ray keeps its own files of a study; nothing in it is ever read back."""
    return study / "ray"


class Deaths(UserCallback):
    """Puts the deaths of a run's workers into a mailbox."""

    def __init__(self, mailbox):
        self.mailbox = mailbox

    def after_exception(self, run_context, worker_exceptions: dict[int, Exception]) -> None:
        ray.get(self.mailbox.put.remote({"exception": str(next(iter(worker_exceptions.values())))}))


class Slot(tune.Trainable):
    """Runs one trial of Tune after the other."""

    def setup(self, config: dict) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # Ray's is any node
        self.mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
        self.number, self.run, self.at_work = 0, None, False
        self.began = 0  # the first job of the run
        self.reset_config(config)

    def reset_config(self, config: dict) -> bool:
        """Begin with a trial. Workers still at the last one, which was stopped then, leave it."""
        if self.at_work:
            self.mailbox.withdraw.remote(self.number)
        self.failures, self.at_work = 0, True
        self.number += 1
        self.mailbox.give.remote(self.number, [ray.put(config["task"])])  # a reference: the mailbox imports no torch
        if self.run is None or not self.run.is_alive():
            trainer = new_trainer(config["task"].study, config["resources"], self.mailbox)
            self.began = self.number
            self.run = threading.Thread(target=fit, args=(trainer, self.mailbox, self.began), daemon=True)
            self.run.start()
        return True

    def step(self) -> dict:
        """The next report of the trial at work; the last one says that it is."""
        while True:
            report = ray.get(self.mailbox.get.remote())
            if "over" in report:
                if report["began"] != self.began:
                    continue  # the run before this one, which ended between two trials
                self.run.join()
                self.at_work = False
                return {"error": report["over"], DONE: True}
            if "exception" in report:
                self.failures += 1
                if self.failures > WORKER_FAILURES:
                    return {"error": report["exception"], DONE: True}
            elif report["number"] == self.number:
                self.at_work = "ended" not in report
                return {**report, DONE: not self.at_work}

    def cleanup(self) -> None:
        """Send the workers home; those that do not leave at once end with this process."""
        self.mailbox.withdraw.remote(self.number)
        self.mailbox.give.remote(self.number + 1, None)
        self.run.join(FAREWELL_S)


def new_trainer(study: Path, resources: Resources, mailbox) -> LeanTrainer:
    per_worker = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    return LeanTrainer(
        work,
        train_loop_config={"mailbox": mailbox, "device": resources.device},
        scaling_config=train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=bool(resources.gpus_per_worker),
            resources_per_worker=per_worker,
        ),
        backend_config=OwnAddressConfig("nccl" if resources.gpus_per_worker else "gloo", COLLECTIVE_TIMEOUT_S),
        run_config=train.RunConfig(
            # An equal name would silently resume an earlier run's Ray state.
            name=f"slot-{time.time_ns()}",
            storage_path=str(ray_folder(study)),
            # The slot counts trial by trial; Ray Train would count over the slot's life.
            failure_config=train.FailureConfig(max_failures=-1, controller_failure_limit=WORKER_FAILURES),
            callbacks=[Deaths(mailbox)],
            worker_runtime_env={"env_vars": ONE_ARENA},
        ),
    )


def fit(trainer: LeanTrainer, mailbox, began: int) -> None:
    """Run it to its end, of which the slot hears in any case; `began`: the run's first job."""
    over = "the run has ended"
    try:
        trainer.fit()
    except BaseException as error:
        over = str(error)
    finally:
        ray.get(mailbox.put.remote({"over": over, "began": began}))
