"""What the driver costs beside a plain loop, and what packing gains, for the same trials.

python benchmarks/sweep.py [--trials 2] [--epochs 90] [--turns 2] [--quick]

Both sides run the same trials of the sample data, each with a GAN of its own, and must write equal metrics:

- the loop: `study.trial.execute.execute` for one trial after the other in one process, no Ray;
- the driver: `study.cluster.driver.run_trials`, one trial at a time. Ray's own start is paid once a study and is
  given apart; that of the slot, once too, is in its time. A share of 1.03 means 3 % longer than the loop.

Packed: two trials at once with a thread each, against the loop with two threads (another rounding: its metrics are not
compared). Needs two CPUs. `--epochs` sets how long they train.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ray
import torch

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, show, speedup, take_turns
from data_utils.dataset import load_dataset
from data_utils.prepare import prepare
from data_utils.prepared import Prepared
from results.tables.store import read_trials
from study.cluster.connect import connect
from study.cluster.driver import run_trials
from study.cluster.resources import Resources
from study.commands.reproduce import METRICS
from study.config import TrialConfig, make_config, preset
from study.gan.quality import GanQuality
from study.progress.display import Display
from study.search.proposer import Proposal
from study.search.stopping import Halving
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task


class Silent(Display):
    """Prints nothing."""

    def __init__(self):
        super().__init__()
        self.in_terminal = False

    def line(self, text: str) -> None:
        """Nothing."""


QUICK = {
    "gan_eval_interval": 1, "eval_images": 16, "critic_steps": 1, "decoder_width": 16, "critic_width": 8,
    "lstm_width": 8, "classifier_epochs": 1, "classifier_width": 8, "classifier_lstm_width": 8,
}  # fmt: skip


@dataclass
class Listed:
    """Proposes the same trials to every side: one seed each, so that each trains a GAN of its own."""

    folder: Path
    base: TrialConfig
    num_trials: int
    asked: int = field(default=0)
    part: str = "search"
    rule: Halving = field(init=False)

    def __post_init__(self):
        self.rule = Halving(self.base.gan_epochs, self.base.gan_eval_interval)

    def num_left(self) -> int:
        return self.num_trials - self.asked

    def gans_left(self) -> int:
        return self.num_left()

    def ask(self) -> Proposal | None:
        if not self.num_left():
            return None
        self.asked += 1
        config = self.base.model_copy(update={"seed": self.asked})
        return Proposal(f"trial-{self.asked:03d}", "search", None, config)

    def tell(self, number: int | None, status: str, result: dict) -> None:
        assert status == "completed", result


@dataclass
class Study:
    """The trials, the data, and where each side's turns are kept."""

    out: Path
    prepared: Prepared
    base: TrialConfig
    num_trials: int
    folders: list[Path] = field(default_factory=list)

    def listed(self) -> Listed:
        """The trials, in a new folder."""
        self.folders.append(self.out / f"turn-{len(self.folders):02d}")
        self.folders[-1].mkdir()
        return Listed(self.folders[-1], self.base, self.num_trials)

    def task(self, folder: Path, proposal: Proposal, threads: int) -> Task:
        columns = data_columns(self.prepared) | {"phase": proposal.phase}
        return Task(folder, self.prepared.path, proposal.trial_id, proposal.config, 1, threads, columns)

    def loop(self, threads: int) -> None:
        """One trial after the other, without Ray."""
        listed = self.listed()
        for _ in range(self.num_trials):
            execute(self.task(listed.folder, listed.ask(), threads), lambda entry: None, torch.device("cpu"))

    def drive(self, concurrent: int) -> None:
        """Through the driver, with one thread a trial."""
        listed = self.listed()

        def make_task(proposal: Proposal) -> Task:
            return self.task(listed.folder, proposal, threads=1)

        run_trials(listed, make_task, Resources(1, 1, 0.0, concurrent), None, Silent())


def sides_of(study: Study) -> dict[str, Callable[[], None]]:
    return {
        "loop": lambda: study.loop(1),
        "driver": lambda: study.drive(1),
        "packed": lambda: study.drive(2),
        "loop, two threads": lambda: study.loop(2),
    }


def metrics_of(folder: Path) -> dict:
    """Each trial's metrics; every trial must have completed."""
    trials = read_trials(folder).set_index("trial_id")
    assert (trials["status"] == "completed").all(), trials["reason"].tolist()
    return trials[list(METRICS)].to_dict()


def run(out: Path, base: TrialConfig, num_trials: int, turns: int) -> dict:
    """All figures; AssertionError where driver and loop differ in any metric."""
    prepared = prepare(None, out / "prepared", image_size=base.image_size)
    quality = GanQuality(base, load_dataset(prepared.path, base.image_size))
    for side in ("validation", "train", "mirrored_train", "noisy_train"):
        getattr(quality, side)  # kept for all sides: the first would pay for it
    started = time.perf_counter()
    connect(None)
    ray_start = time.perf_counter() - started
    study = Study(out, prepared, base, num_trials)
    seconds = take_turns(sides_of(study), turns, warm_up=0)  # a trial takes minutes
    per_turn = len(seconds)
    for first in range(0, len(study.folders), per_turn):
        loop, *driven = map(metrics_of, study.folders[first : first + 3])
        assert all(str(loop) == str(other) for other in driven), "driver and loop differ"
    rows = read_trials(study.folders[1]).sort_values("trial_id")  # the driver's
    first, *later = rows["startup_seconds"]
    return {
        "seconds": seconds, "ray_start": ray_start, "trials": num_trials,
        "first_startup": first, "startup": max(later, default=float("nan")),
        "memory": (rows["peak_memory_bytes"] / 2**20).tolist(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    options = benchmark_parser(__doc__, "tiny trials", trials=2, epochs=90, turns=2).parse_args(arguments)
    settings = {"gan_epochs": options.epochs, "measure_fid": False}  # which the loop and the driver would pay alike
    base = make_config(preset("smoke") | settings)
    if options.quick:
        base = make_config(base.model_dump() | QUICK | {"gan_epochs": 2})
    with tempfile.TemporaryDirectory() as out:
        try:
            result = run(Path(out), base, options.trials, 1 if options.quick else options.turns)
        finally:
            ray.shutdown()
    seconds, memory = result["seconds"], result["memory"]
    overhead, packing = (
        speedup(seconds[reference], seconds[side])
        for side, reference in (("loop", "driver"), ("packed", "loop, two threads"))
    )
    once = (min(seconds["driver"]) + result["ray_start"]) / min(seconds["loop"])
    rows = [
        ("loop, one thread, a trial", f"{min(seconds['loop']) / options.trials:.1f} s", ""),
        ("driver's share of the loop's time", show(overhead), "<= 1.03"),
        ("the same with Ray's start", f"{once:.2f}", ""),
        ("proposal to start, the first trial", f"{result['first_startup']:.1f} s", ""),
        ("proposal to start, later trials at most", f"{result['startup']:.2f} s", "<= 1 s"),
        ("peak memory of the worker, first and last trial", f"{memory[0]:.0f} and {memory[-1]:.0f} MiB", ""),
        ("two packed against two threads", show(packing), ">= 1.1"),
    ]
    report(rows, {**result, "share": overhead, "share_with_start": once, "packing": packing})


if __name__ == "__main__":
    main()
