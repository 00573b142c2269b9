"""What a trial costs besides its training, and how that grows: a study of 1,000 trials that train nothing.

taskset -c 0 python benchmarks/scale.py [--trials 1000] [--quick]

Search, Tune driver, stopping rule, rows and Optuna's file are the real ones; only the Ray Train run of a trial is left
out: its Tune actor reports three measurements of a made-up GAN, then writes the history and the row that a worker
would. The overhead is what the head of a cluster pays for each trial, whatever the number of machines; its inverse
bounds the trials that can end in an hour. Growth: the last tenth of the trials against the first, 1.0 if it is linear.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ray
from ray import tune
from ray.tune.result import DONE

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from results.tables.schema import TRIALS
from results.tables.store import read_history, read_trials
from study.cluster import driver as tune_driver
from study.cluster.connect import connect
from study.cluster.resources import Resources
from study.cluster.slots.worker import MEASUREMENT
from study.config import TrialConfig, make_config, preset
from study.progress.display import Display
from study.search.proposer import Search
from study.trial.record import Task

CONCURRENT = 2
MEASURED = dict.fromkeys(("num_real", "num_fake"), 100)


class NoTraining(tune.Trainable):
    """Stands in for `Slot`."""

    def setup(self, config: dict) -> None:
        self.reset_config(config)

    def reset_config(self, config: dict) -> bool:
        self.reports = no_training(config["task"])
        return True

    def step(self) -> dict:
        return next(self.reports)


def no_training(task: Task) -> Iterator[dict]:
    """Reports and writes what a worker would, without the training."""
    merit = int(hashlib.sha256(task.trial_id.encode()).hexdigest()[:8], 16) / 2**32
    epochs = range(task.config.gan_eval_interval, task.config.gan_epochs + 1, task.config.gan_eval_interval)
    entries = [
        {"stage": "gan", "epoch": epoch, "seconds": float(epoch), "frechet_distance": 200.0 * merit + 100.0,
         "gan_key": task.config.gan_key("", ""), **MEASURED}
        for epoch in epochs
    ]  # fmt: skip
    if task.config.uses_gan:
        for entry in entries:
            yield {key: entry[key] for key in MEASUREMENT}
    task.write_history(entries)
    distance = entries[-1]["frechet_distance"]
    result = {"started_at": "", "frechet_distance": distance, "validation_auroc": merit, "gan_epoch": epochs[-1]}
    task.write_row("completed", None, result)
    ended = {"trial_id": task.trial_id, "status": "completed", "reason": None, **dict.fromkeys(TRIALS.names), **result}
    ended |= {"trial_id": task.trial_id, "status": "completed"}
    yield {"epoch": epochs[-1], "ended": ended, DONE: True}


class Clock(Display):
    """Takes the driver's lines, and notes time and resident memory at each line that ends a trial."""

    def __init__(self):
        super().__init__()
        self.in_terminal = False
        self.seconds, self.memory = [time.perf_counter()], [resident_bytes()]

    def __call__(self, line: str) -> None:
        if re.match(r"\[\d+/", line):
            self.seconds.append(time.perf_counter())
            self.memory.append(resident_bytes())

    def per_trial(self, first: int, last: int) -> float:
        """Seconds a trial between two ends."""
        return (self.seconds[last] - self.seconds[first]) / (last - first)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGESIZE")


def run_study(folder: Path, base: TrialConfig, num_trials: int, clock: Clock) -> None:
    """`num_trials` trials of a new study through the real driver."""
    search = Search(folder, base, {}, "pareto", rows={}, remaining=num_trials)

    def make_task(proposal) -> Task:
        return Task(folder, folder, proposal.trial_id, proposal.config, 1, 1, {"phase": proposal.phase})

    tune_driver.Slot = NoTraining
    tune_driver.run_trials(search, make_task, Resources(1, 1, 0.0, CONCURRENT), None, clock)


def seconds_of(function: Callable, *arguments) -> float:
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def measure(num_trials: int) -> dict:
    """Run a study and read its tables; all figures."""
    clock, tenth = Clock(), max(1, num_trials // 10)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out) / "scale"
        folder.mkdir()
        run_study(folder, make_config(preset("smoke") | {"gan_eval_interval": 20}), num_trials, clock)
        readers = {"trials": read_trials, "history": read_history}
        reading = {name: seconds_of(read, folder) for name, read in readers.items()}
        status = read_trials(folder)["status"].value_counts().to_dict()
    assert sum(status.values()) == num_trials, status
    first, last = clock.per_trial(1, tenth + 1), clock.per_trial(num_trials - tenth, num_trials)
    return {
        "trials": num_trials,
        "ends": status,
        "seconds_first_tenth": first,
        "seconds_last_tenth": last,
        "growth": last / first,
        "seconds_per_trial": clock.per_trial(1, num_trials),
        "memory_start": clock.memory[0],
        "memory_tenth": clock.memory[tenth],
        "memory_end": clock.memory[-1],
        "reading_seconds": reading,
    }


def main(arguments: list[str] | None = None) -> None:
    options = benchmark_parser(__doc__, "12 trials", trials=1000).parse_args(arguments)
    connect(None)
    try:
        result = measure(12 if options.quick else options.trials)
    finally:
        ray.shutdown()
    tenth = max(1, result["trials"] // 10)
    read = result["reading_seconds"]
    rows = [
        ("overhead a trial, all", f"{result['seconds_per_trial']:.2f} s", ""),
        (f"  the first {tenth}", f"{result['seconds_first_tenth']:.2f} s", ""),
        (f"  the last {tenth}", f"{result['seconds_last_tenth']:.2f} s", ""),
        ("growth", f"{result['growth']:.2f}", "near 1"),
        (f"driver's memory after {tenth}", f"{result['memory_tenth'] / 2**20:.0f} MiB", ""),
        (f"driver's memory after {result['trials']}", f"{result['memory_end'] / 2**20:.0f} MiB", ""),
        ("reading trials, history", f"{read['trials']:.2f} s, {read['history']:.2f} s", ""),
    ]
    report(rows, result)


if __name__ == "__main__":
    main()
