"""Ray Tune around one `TorchTrainer.fit()` a trial.

Tune runs one small driver actor a trial, on the head node; it starts a Ray Train run whose workers call
`study.trial.execute.execute`. Optuna is asked and told through `study.search.proposer.Search`, rows are the record of
what ended: Tune's own snapshots are never read back.
"""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

os.environ |= {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # halves the start-up of a Ray Train run
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process a trial; `study.training.preemption` hears of it sooner
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the real-only baseline reports no Frechet distance
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are not used
    # Nor are its logs. TensorBoard's writer is waited for without end where its thread has died, of a full disk say.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # progress is printed here, a line an event
}

import ray
import torch
from ray import train, tune
from ray.exceptions import RayError
from ray.train.torch import TorchTrainer
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from results.tables.store import read_history
from study.cluster.head import leave_with_head
from study.cluster.placement_groups import free_orphans
from study.cluster.process_group import OwnAddressConfig
from study.cluster.reports import Forward, new_reports, report_until_end
from study.cluster.resources import Resources
from study.search.proposer import Proposal, Proposer
from study.search.stopping import Halving
from study.storage.faults import storage_fault, way_out
from study.trial.record import LOST, Task

logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost trial has its row and its line
HEAD_SHARE = {"cpu": 0, "node:__internal_head__": 0.001}  # of a trial's driver: it only waits
COLLECTIVE_TIMEOUT_S = 24 * 3600  # workers wait while another trial trains the GAN that they share
MEASUREMENT = ("epoch", "frechet_distance", "num_real", "num_fake", "gan_key", "seconds")  # what Tune hears of a GAN
# Of a trial: a long one may lose several spot machines, while its workers train and, counted apart, while they start.
WORKER_FAILURES = 10
FREE_EVERY_S = 5.0
DRIVER_FAILURES = 3  # of a trial: on a head without memory, drivers die


def run_trials(
    proposer: Proposer,
    make_tasks: Callable[[Proposal], list[Task]],
    resources: Resources,
    num_trials: int,
    time_budget: float | None,
    announce: Callable[[str], None],
    num_runs: int | None = None,
) -> bool:
    """Run `num_trials` more trials; returns whether Ctrl-C or SIGTERM ended it early, as `time_budget` (seconds) may.

    `num_runs` is the number of proposals, where some have followers. Each trial that ends leaves a row; a trial that
    is interrupted leaves its checkpoints and no row. Raises `study.storage.faults.StorageFault`.
    """
    bridge = Bridge(proposer, make_tasks, num_trials, announce)
    curves = measured_curves(proposer.folder)
    stopping = StopBadGans(Halving(proposer.base.gan_epochs, proposer.base.gan_eval_interval, curves))
    tuner = tune.Tuner(
        tune.with_resources(drive_trial, HEAD_SHARE),
        tune_config=tune.TuneConfig(
            search_alg=Proposals(bridge),
            scheduler=stopping,
            num_samples=num_runs or num_trials,
            max_concurrent_trials=resources.concurrent,
            time_budget_s=time_budget,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{time.time_ns()}",
            storage_path=str(ray_folder(bridge.study_folder)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=DRIVER_FAILURES),
            callbacks=[Rows(bridge, stopping)],
        ),
        param_space={"resources": resources},
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    interrupts = count_interrupts()
    leave_with_head(ray.get_runtime_context().gcs_address, interrupts, ray.is_initialized)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Tune warns of its own defaults
            tuner.fit()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if bridge.fault:
        raise way_out(bridge.fault)
    return bool(interrupts)


def measured_curves(study: Path) -> dict[str, dict[int, float]]:
    """Of the study's GANs so far: Frechet distance by epoch, by GAN."""
    history = read_history(study).dropna(subset=["gan_key", "frechet_distance"])
    rows = zip(history["gan_key"], history["epoch"], history["frechet_distance"], strict=True)
    curves: dict[str, dict[int, float]] = {}
    for gan, epoch, distance in rows:
        curves.setdefault(gan, {})[int(epoch)] = distance
    return curves


def ray_folder(study: Path) -> Path:
    """Where Ray keeps its own files of a study; nothing in it is ever read back."""
    return study / "ray"


def count_interrupts() -> list[int]:
    """Make SIGTERM end the search as Ctrl-C does; the returned list grows by each such signal."""
    received = []

    def on_interrupt(number, frame):
        received.append(number)
        os.kill(os.getpid(), signal.SIGUSR1)  # on which Tune ends its loop in good order
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_interrupt)
    return received


class Bridge:
    """Joins Tune's trials with the proposals of a search or confirmation; lives in the process that runs Tune."""

    def __init__(
        self,
        proposer: Proposer,
        make_tasks: Callable[[Proposal], list[Task]],
        num_trials: int,
        announce: Callable[[str], None],
    ):
        self.proposer, self.make_tasks, self.announce = proposer, make_tasks, announce
        self.num_trials = num_trials
        self.running: dict[str, dict[str, tuple[Proposal, Task]]] = {}  # by Tune's trial id, then by ours
        self.counts = {"completed": 0, "pruned": 0, "failed": 0}
        self.fault: str | None = None  # of the disk, on which the study stops

    @property
    def study_folder(self) -> Path:
        return self.proposer.folder

    def propose(self, tune_id: str) -> dict | None:
        with self.stopping_at_faults():
            proposal = self.proposer.ask()
            first, *others = self.make_tasks(proposal)
            tasks = [replace(first, proposed_at=time.time()), *others]
            pairs = zip((proposal, *proposal.followers), tasks, strict=True)
            self.running[tune_id] = {task.trial_id: (one, task) for one, task in pairs}
            return {"tasks": tasks, "stoppable": proposal.stoppable}
        return None  # by which Tune understands that nothing can be run now

    @contextmanager
    def stopping_at_faults(self) -> Iterator[None]:
        """Let no error of the disk reach Tune, which would end with a trace: it is told to end in good order."""
        try:
            yield
        except Exception as error:
            if not storage_fault(error):
                raise
            self.stop(storage_fault(error))

    def stop(self, fault: str) -> None:
        self.fault = self.fault or fault
        os.kill(os.getpid(), signal.SIGUSR1)

    def at_work(self, tune_id: str) -> str | None:
        """The first of a run's trials that has not ended; its followers have not begun."""
        return next(iter(self.running[tune_id]), None)

    def end(self, tune_id: str, trial_id: str | None, status: str, reason: str | None, result: dict) -> None:
        """A trial has ended: write its row unless its worker has, tell Optuna, say so. A second end is not heard."""
        if trial_id not in self.running[tune_id]:
            return
        proposal, task = self.running[tune_id].pop(trial_id)
        with self.stopping_at_faults():
            if "started_at" not in result:
                task.write_row(status, reason, result)
            self.proposer.tell(proposal.number, status, result)
            self.counts[status] += 1
            self.announce(self.line(proposal, status, reason, result))

    def line(self, proposal: Proposal, status: str, reason: str | None, result: dict) -> str:
        done = f"[{sum(self.counts.values())}/{self.num_trials}] {proposal.trial_id}"
        if status == "failed":
            return f"{done} failed: {reason}"
        return f"{done} {status}  {measured(result)}\n{' ' * 13}{describe(proposal)}"


def describe(proposal: Proposal) -> str:
    config = proposal.config
    part = f", {config.training_fraction:.0%} of the groups" if config.training_fraction < 1 else ""
    if not config.uses_gan:
        return f"{config.arm.replace('_', ' ')}{' only' if config.arm == 'real' else ''}{part}"
    gan = f"{config.backbone} lstm {config.lstm_depth} gp {config.penalty_weight:g}"
    only = " synthetic only" if config.training_images == "synthetic_only" else ""
    return f"{gan} ratio {config.synthetic_ratio:g}{only}{part}"


def measured(result: dict) -> str:
    shown = (("frechet_distance", "Frechet", ".1f"), ("validation_auroc", "val AUROC", ".3f"))
    return "  ".join(f"{label} {result[key]:{form}}" for key, label, form in shown if result.get(key) is not None)


class Proposals(Searcher):
    """Tune's view of the search. Ends are told through `Rows`, which knows more of them."""

    def __init__(self, bridge: Bridge):
        super().__init__()
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict:
        return self.bridge.propose(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the search lives in Optuna's file."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is resumed from its rows and Optuna's file")


class StopBadGans(FIFOScheduler):
    """Tune's view of the stopping rule. Only trials that train a GAN of the search are stopped."""

    def __init__(self, rule: Halving):
        super().__init__()
        self.rule = rule
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller, trial, result: dict) -> str:
        if "gan_key" not in result:
            return TrialScheduler.CONTINUE
        is_worse = self.rule.is_worse(result["gan_key"], result["epoch"], result["frechet_distance"])
        if not is_worse or not trial.config["stoppable"]:
            return TrialScheduler.CONTINUE
        self.stopped.add(trial.trial_id)
        return TrialScheduler.STOP

    def saved_seconds(self, last_result: dict) -> float:
        """Of GAN training, that a stopped trial would still have cost."""
        return (self.rule.last_epoch / last_result["epoch"] - 1) * last_result["seconds"]


class Rows(tune.Callback):
    """Hears how Tune's trials end, and passes it on."""

    def __init__(self, bridge: Bridge, stopping: StopBadGans):
        self.bridge, self.stopping = bridge, stopping
        self.freed_at = 0.0

    def on_step_end(self, iteration, trials, **info) -> None:
        if time.monotonic() - self.freed_at > FREE_EVERY_S:
            self.freed_at = time.monotonic()
            free_orphans()

    def on_trial_result(self, iteration, trials, trial, result: dict, **info) -> None:
        for ended in result.get("ended", ()):
            self.bridge.end(trial.trial_id, ended["trial_id"], ended["status"], ended["reason"], ended)
        if "error" in result:
            self.lose(trial.trial_id, result["error"])
        if "frechet_distance" in result:
            name = self.bridge.at_work(trial.trial_id)
            self.bridge.announce(f"      {name} GAN epoch {result['epoch']}  {measured(result)}")

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        if trial.trial_id in self.stopping.stopped:
            result, name = trial.last_result, self.bridge.at_work(trial.trial_id)
            reason = f"stopped by ASHA at GAN epoch {result['epoch']}"
            columns = {name: result[name] for name in ("frechet_distance", "num_real", "num_fake")}
            columns |= {"gan_epoch": result["epoch"], "saved_seconds": self.stopping.saved_seconds(result)}
            self.bridge.end(trial.trial_id, name, "pruned", reason, columns)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        # `get_error` finds them later only.
        notes = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        self.lose(trial.trial_id, notes.rpartition("Failure # ")[2].partition("\n")[2])

    def lose(self, tune_id: str, error: str) -> None:
        """A machine's fault has ended a trial, or a fault of the disk the study: then the trial is not finished."""
        if fault := storage_fault(RuntimeError(error)):
            self.bridge.stop(fault)
        else:
            self.bridge.end(tune_id, self.bridge.at_work(tune_id), "failed", f"{LOST} {error_line(error)}", {})


def error_line(error: str) -> str:
    """What happened, in a line: the last of a trace, the beginning of what Ray says of a dead process."""
    return shorten(error.strip().splitlines()[-1] if "Traceback" in error else error, 200)


def drive_trial(settings: dict) -> None:
    """A Tune trial: one Ray Train run; its reports reach Tune as they come, its result as the last report."""
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
    """A Ray Train worker: `execute` for each task, with the first one's GAN measurements and all ends reported to Ray.

    A task that has its row is not run again after a fault of the worker.
    """
    from study.errors import Unheard
    from study.training.workers import from_first_worker
    from study.trial.execute import execute  # heavy, and Tune's and Train's own processes import this file too

    device = train.torch.get_device() if settings["device"] == "cuda" else torch.device("cpu")
    first, ended = settings["tasks"][0], []

    def tell(metrics: dict) -> None:
        try:
            train.report(metrics)
        except RayError as error:  # the head is lost, say, and this worker is still there
            raise Unheard(str(error)) from error

    for task in settings["tasks"]:

        def report(entry: dict, is_first: bool = task is first) -> None:
            if is_first and entry["stage"] == "gan":
                tell({key: entry[key] for key in MEASUREMENT})

        worker_task = replace(task, num_workers=train.get_context().get_world_size())
        # All do the same: one of several machines may see the row later than another.
        result = from_first_worker(task.read_row) or execute(worker_task, report, device)
        ended.append({"trial_id": task.trial_id, **result})
        train.report({"epoch": result.get("gan_epoch") or 0, "ended": ended[-1:]})
    return {"epoch": ended[0].get("gan_epoch") or 0, "ended": ended}
