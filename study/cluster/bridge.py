"""Between Tune and the study: Tune asks here for trials and whether to stop one, and tells how each trial ends."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from textwrap import shorten

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from results.tables.schema import FINALIST
from results.tables.store import read_history
from study.cluster.nodes import what_is_free
from study.cluster.private import free_orphans
from study.config import TrialConfig
from study.progress.display import DETAILS, Display, left
from study.progress.standing import standing
from study.search.proposer import Proposal, Proposer
from study.search.stopping import Halving
from study.storage.faults import storage_fault
from study.trial.record import Task

EVERY_S = 5.0  # processes are looked after, and the bars drawn
PATIENCE_S = 180.0  # in which a trial should have found its worker


class StopBadGans(FIFOScheduler):
    """Tune's scheduler: stops trials that train a bad GAN of the search, and no others."""

    def __init__(self, rule: Halving):
        super().__init__()
        self.rule = rule
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller, trial, result: dict) -> str:
        if "gan_key" not in result or not trial.config["judged"]:
            return TrialScheduler.CONTINUE
        is_worse = self.rule.is_worse(result["gan_key"], result["epoch"], result["frechet_distance"])
        if not is_worse or not trial.config["stoppable"]:
            return TrialScheduler.CONTINUE
        self.stopped.add(trial.trial_id)
        return TrialScheduler.STOP

    def saved_seconds(self, measurement: dict) -> float:
        """Seconds of GAN training that a trial stopped after this measurement would still have cost."""
        return (self.rule.last_epoch / measurement["epoch"] - 1) * measurement["seconds"]


class Bridge(tune.Callback):
    """Joins Tune's trials with the proposals of a search or confirmation; lives in the process that runs Tune."""

    def __init__(
        self,
        proposer: Proposer,
        make_task: Callable[[Proposal], Task],
        stopping: StopBadGans,
        display: Display,
    ):
        self.proposer, self.make_task, self.stopping, self.display = proposer, make_task, stopping, display
        self.since = datetime.now(UTC).replace(microsecond=0)
        measured = read_history(proposer.folder)[["gan_key", "epoch"]].dropna()
        self.said = set(measured.itertuples(index=False, name=None))  # a reused GAN's reports come again
        self.running: dict[str, tuple[Proposal, Task]] = {}  # by Tune's trial id
        self.measured: dict[str, dict] = {}  # the last measurement of a GAN, by Tune's trial id
        self.counts = {"completed": 0, "pruned": 0, "failed": 0}
        self.fault: str | None = None  # of the disk, on which the study stops
        self.looked_at = 0.0
        self.complained_of: set[str] = set()  # the trials that were said to wait for a worker

    def propose(self, tune_id: str) -> dict | str | None:
        """The next trial as Tune's configuration; None where nothing can be run now, FINISHED where nothing is left."""
        with self.stopping_at_faults():
            if not (proposal := self.proposer.ask()):
                return None if self.running else Searcher.FINISHED
            task = replace(self.make_task(proposal), proposed_at=time.time())
            self.running[tune_id] = proposal, task
            return {"task": task, "stoppable": proposal.stoppable, "judged": proposal.of_the_search}
        return None

    def on_step_end(self, iteration, trials, **info) -> None:
        if time.monotonic() - self.looked_at > EVERY_S:
            self.looked_at = time.monotonic()
            free_orphans()
            self.say_who_waits()
            if self.display.in_terminal:
                self.display.study(standing(self.proposer.folder, self.since))

    def say_who_waits(self) -> None:
        """A line for trials without a worker for long: CPUs or GPUs may be held by others, machines yet to come."""
        tasks = [task for _, task in self.running.values() if time.time() - task.proposed_at > PATIENCE_S]
        waiting = [task.trial_id for task in tasks if not self.has_started(task)]
        if set(waiting) - self.complained_of:
            self.complained_of |= set(waiting)
            self.display(
                f"{', '.join(waiting)}: no worker for {PATIENCE_S / 60:.0f} min; of Ray {what_is_free()} are free, "
                "and `ray status` on its head says who holds the others"
            )

    def has_started(self, task: Task) -> bool:
        started = task.start_columns().get("started_at")
        return bool(started) and datetime.fromisoformat(started) >= self.since

    def on_trial_result(self, iteration, trials, trial, result: dict, **info) -> None:
        if "ended" in result:
            self.end(trial.trial_id, result["ended"])
        if "error" in result:
            self.lose(trial.trial_id, result["error"])
        if "frechet_distance" in result:
            self.measured[trial.trial_id] = result
            self.say_measurement(self.running[trial.trial_id][1], result)

    def say_measurement(self, task: Task, result: dict) -> None:
        """A line for each new measurement of a GAN; in a terminal its bar says it."""
        measurement = result["gan_key"], result["epoch"]
        if measurement not in self.said and not self.display.in_terminal:
            self.display(f"      {task.trial_id} {gan_words(result, task.config)}")
        self.said.add(measurement)

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        measurement = self.measured.get(trial.trial_id)
        if trial.trial_id in self.stopping.stopped and measurement:
            columns = {name: measurement[name] for name in ("frechet_distance", "num_real", "num_fake")}
            columns["saved_seconds"] = self.stopping.saved_seconds(measurement)
            reason = f"stopped by ASHA at GAN epoch {measurement['epoch']}"
            self.end_without_worker(trial.trial_id, "pruned", reason, columns)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        # `get_error` finds them later only.
        notes = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        self.lose(trial.trial_id, notes.rpartition("Failure # ")[2].partition("\n")[2])

    def lose(self, tune_id: str, error: str) -> None:
        """A machine's fault has ended a trial, or a fault of the disk the study: then the trial is not finished."""
        if fault := storage_fault(RuntimeError(error)):
            self.stop(fault)
        elif tune_id in self.running:
            _, task = self.running[tune_id]
            with self.stopping_at_faults():
                self.end_without_worker(tune_id, "failed", task.lost_reason(error_line(error)), {})

    def end_without_worker(self, tune_id: str, status: str, reason: str, columns: dict) -> None:
        """Write the row of the trial at work, whose worker was ended before it could."""
        _, task = self.running[tune_id]
        columns = columns | task.start_columns() | gan_columns(self.measured.get(tune_id))
        with self.stopping_at_faults():
            task.write_row(status, reason, columns)
            if status == "pruned":  # a lost trial goes on from its checkpoint when it runs again
                rmtree(task.checkpoints, ignore_errors=True)
            self.end(tune_id, {"trial_id": task.trial_id, "status": status, "reason": reason, **columns})

    def end(self, tune_id: str, ended: dict) -> None:
        """A trial has ended, with its row written: tell the search, and say so. A second end changes nothing."""
        if tune_id not in self.running:
            return
        proposal, _ = self.running.pop(tune_id)
        self.measured.pop(tune_id, None)
        with self.stopping_at_faults():
            self.proposer.tell(proposal.number, ended["status"], ended)
            self.counts[ended["status"]] += 1
            done = sum(self.counts.values())
            number = f"[{done}/{done + len(self.running) + self.proposer.num_left():.0f}]"
            parts = standing(self.proposer.folder, self.since)
            seconds = next((part.seconds_left for part in parts if part.name == self.proposer.part and part.left), None)
            self.display(f"{number} {end_line(proposal, ended)}{left(seconds)}")

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


class Proposals(Searcher):
    """Tune's searcher, which gets its trials from a bridge."""

    def __init__(self, bridge: Bridge):
        super().__init__()
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict | str | None:
        return self.bridge.propose(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: the bridge hears more of an end, and tells the search."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: proposals and rows are on disk."""


def gan_columns(measurement: dict | None) -> dict:
    """The row's columns of a GAN whose training was cut short after this measurement."""
    if measurement is None:
        return {}
    return {
        "gan_key": measurement["gan_key"],
        "gan_epoch": measurement["epoch"],
        "gan_seconds": measurement["seconds"],
    }


def end_line(proposal: Proposal, ended: dict) -> str:
    if ended["status"] == "failed":
        return f"{proposal.trial_id} failed: {ended['reason']}"
    return f"{proposal.trial_id} {ended['status']}  {scores(ended)}\n{' ' * DETAILS}{describe(proposal)}"


def gan_words(result: dict, config: TrialConfig) -> str:
    """`GAN epoch 10 of 60  Frechet 210.1, ~2 min left`"""
    epoch, seconds, epochs = result["epoch"], result["seconds"], config.known_epochs
    if epochs == 0:
        return f"GAN not trained  {scores(result)}"
    if epochs is None:
        return f"GAN epoch {epoch}  {scores(result)}{left(max(0.0, config.gan_time_limit - seconds))}"
    return f"GAN epoch {epoch} of {epochs}  {scores(result)}{left(seconds / max(epoch, 1) * (epochs - epoch))}"


def describe(proposal: Proposal) -> str:
    config = proposal.config
    if proposal.phase == FINALIST:
        return f"{proposal.columns['confirms']} again, another classifier"
    if not config.uses_gan:
        return f"{config.arm.replace('_', ' ')}{' only' if config.arm == 'real' else ''}{config.part_in_words}"
    amount = "fills the rarer class" if config.balance == "synthetic" else f"ratio {config.synthetic_ratio:g}"
    kept = f", {config.synthetic_kept:.0%} kept" if config.synthetic_kept < 1 else ""
    only = " synthetic only" if config.training_images == "synthetic_only" else ""
    return f"{config.in_words} {amount}{kept}{only}{config.part_in_words}"


def scores(result: dict) -> str:
    shown = (("frechet_distance", "Frechet", ".1f"), ("validation_auroc", "val AUROC", ".3f"))
    return "  ".join(f"{label} {result[key]:{form}}" for key, label, form in shown if result.get(key) is not None)


def error_line(error: str) -> str:
    """What happened, in a line: the last of a trace, the beginning of what Ray says of a dead process."""
    return shorten(error.strip().splitlines()[-1] if "Traceback" in error else error, 200)
