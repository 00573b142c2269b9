"""A trial in Ray's processes: Tune's actor on the head, and the workers of the one Ray Train run that it starts.

A worker reports to Ray Train each Frechet distance of the first task's GAN, and the end of each task.
"""

import time
from pathlib import Path

import torch
from ray import train, tune
from ray.exceptions import RayError
from ray.train.torch import TorchTrainer

from study.cluster.process_group import OwnAddressConfig
from study.cluster.reports import Forward, new_reports, report_until_end
from study.errors import Unheard

COLLECTIVE_TIMEOUT_S = 24 * 3600  # workers wait while another trial trains the GAN that they share
MEASUREMENT = ("epoch", "frechet_distance", "num_real", "num_fake", "gan_key", "seconds")  # of a GAN, as reported
# Of a trial: a long one may lose several spot machines, while its workers train and, counted apart, while they start.
WORKER_FAILURES = 10


def ray_folder(study: Path) -> Path:
    """Where Ray keeps its own files of a study; nothing in it is ever read back."""
    return study / "ray"


def drive_trial(settings: dict) -> None:
    """Tune's trial: one Ray Train run; its reports reach Tune as they come, its result as the last report."""
    tasks, resources, reports = settings["tasks"], settings["resources"], new_reports()
    per_worker = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    trainer = TorchTrainer(
        work,
        train_loop_config={"tasks": tasks, "device": resources.device},
        scaling_config=train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=bool(resources.gpus_per_worker),
            resources_per_worker=per_worker,
        ),
        torch_config=OwnAddressConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        run_config=train.RunConfig(
            # An equal name would silently resume an earlier run's Ray state.
            name=f"{tasks[0].trial_id}-{time.time_ns()}",
            storage_path=str(ray_folder(tasks[0].study)),
            failure_config=train.FailureConfig(max_failures=WORKER_FAILURES, controller_failure_limit=WORKER_FAILURES),
            callbacks=[Forward(reports)],
        ),
    )
    try:
        tune.report(report_until_end(lambda: trainer.fit().return_value, reports))
    except train.TrainingFailedError as error:  # which Tune shall not try again, as it does where this process dies
        tune.report({"error": str(error)})


def work(settings: dict) -> dict:
    """A worker's part of a Ray Train run: each task from start to row.

    A task that has its row is not run again after a fault of the worker.
    """
    from study.training.workers import from_first_worker
    from study.trial.execute import execute  # heavy, and Tune's and Train's own processes import this file too

    device = train.torch.get_device() if settings["device"] == "cuda" else torch.device("cpu")
    first, ended = settings["tasks"][0], []
    for task in settings["tasks"]:
        report = report_measurement if task is first else ignore
        # All do the same: one of several machines may see the row later than another.
        result = from_first_worker(task.read_row) or execute(task, report, device)
        ended.append({"trial_id": task.trial_id, **result})
        train.report({"epoch": result.get("gan_epoch") or 0, "ended": ended[-1:]})
    return {"epoch": ended[0].get("gan_epoch") or 0, "ended": ended}


def report_measurement(entry: dict) -> None:
    """Send a GAN's measurement to the launcher; raises Unheard where it no longer receives reports."""
    if entry["stage"] != "gan":
        return
    try:
        train.report({name: entry[name] for name in MEASUREMENT})
    except RayError as error:  # the head is lost, say, and this worker is still there
        raise Unheard(str(error)) from error


def ignore(entry: dict) -> None:
    """Tune hears only of the first task's GAN: it stops no other."""
