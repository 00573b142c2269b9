"""How a study stands, from its files alone: what has ended, what runs, and the time left by what was measured so far.

Rows tell what has ended. A trial that runs has left `started.json` in its checkpoint folder since the command at work
began; its last report stands in its part of the table `history`.
"""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from statistics import mean

import pyarrow as pa

from results.tables.attempts import runs_again
from results.tables.schema import BENCHMARK, CONFIRMED, HISTORY, TRIALS
from results.tables.store import TableError, read_part
from study.errors import Damaged
from study.storage.sealed import read_json, write_json
from study.trial.record import STAGES, started_file

PLANNED = "planned.json"  # of each part of a study: its trials, how many train a GAN, how many run at once
# The phases of each part's trials; the search has all others. The ids of these trials begin with their phase.
PHASES = {"search": (), "confirmation": tuple(CONFIRMED), "benchmark": (BENCHMARK,)}
NOT_TYPICAL = ("baseline", "system")  # whose costs do not tell those of the trials to come
COLUMNS = [
    "trial_id", "phase", "status", "reason", "seconds", "gan_seconds", "gan_reused", "classifier_seconds",
    "startup_seconds",
]  # fmt: skip


# In the same file: the trials of the search that the last command asked for, and the most repeats of its best.
ASKED, REPEATS_ASKED = "asked", "repeats"


@dataclass(frozen=True)
class Running:
    """A trial at work: the last report of its GAN or classifier; no stage before its first one."""

    trial_id: str
    stage: str | None = None
    epoch: int = 0
    epochs: int | None = None  # of the stage; None where time decides
    distance: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Part:
    """A part of a study (see `PHASES`): how its trials ended, of how many that are planned (None: not written down)."""

    name: str
    planned: int | None
    ended: Counter
    running: tuple[Running, ...]
    seconds_left: float | None

    @property
    def left(self) -> int:
        return max(0, (self.planned or 0) - self.ended.total())


def write_planned(study: Path, part: str, remaining: int, at_once: int, gans: int | None = None) -> None:
    """Write down how many trials of a part of a study are to run besides those that have ended.

    `gans`: how many of those to run train a GAN; None where that is not known.
    """
    rows = of_part(part, ended_rows(study))
    trained = None if gans is None else sum(map(trained_its_gan, rows)) + gans
    planned = {"trials": len(rows) + remaining, "gans": trained, "at_once": at_once}
    write_json(study / PLANNED, read_planned(study) | {part: planned})


def write_asked(study: Path, trials: int, repeats: int) -> None:
    """Write down how many trials a search is to have, besides the baseline and the systems, and at most how many
    repeats of its best: `--resume` keeps to it."""
    write_json(study / PLANNED, read_planned(study) | {ASKED: trials, REPEATS_ASKED: repeats})


def read_planned(study: Path) -> dict[str, dict[str, int | None] | int]:
    try:
        return read_json(study / PLANNED)
    except (FileNotFoundError, Damaged):
        return {}


def standing(study: Path, since: datetime | None) -> list[Part]:
    """The parts of a study that were planned or begun. `since`: start of the command at work; None where none is."""
    rows, planned = ended_rows(study), read_planned(study)
    running = running_trials(study, since, {row["trial_id"] for row in rows}, _mean(rows, "classifier_seconds"))
    parts = []
    for name in PHASES:
        own = of_part(name, rows)
        at_work = tuple(one for one in running if part_of(one.trial_id.split("-")[0]) == name)
        if own or at_work or name in planned:
            ended = Counter(row["status"] for row in own)
            plan = planned.get(name, {"trials": None, "at_once": 1})
            left, gans = (plan["trials"] or 0) - ended.total(), plan.get("gans")
            gans = None if gans is None else gans - sum(map(trained_its_gan, own))
            cost = cost_of_a_trial([row for row in own if row["phase"] not in NOT_TYPICAL], left, gans)
            seconds = time_left(at_work, left, cost, plan["at_once"]) if at_work or not running else None
            parts.append(Part(name, plan["trials"], ended, at_work, seconds))
    return parts


def ended_rows(study: Path) -> list[dict]:
    """The rows of all trials that have ended and do not run again."""
    rows = [row for path in (study / "trials").glob("*.parquet") if (row := _row(path, path.stat().st_mtime_ns))]
    return [row for row in rows if not runs_again(row["reason"])]


def of_part(part: str, rows: list[dict]) -> list[dict]:
    return [row for row in rows if part_of(row["phase"]) == part]


def part_of(phase: str) -> str:
    """The part of a study that a phase belongs to."""
    return next((part for part, phases in PHASES.items() if phase in phases), "search")


def running_trials(study: Path, since: datetime | None, ended: set[str], classifier: float) -> list[Running]:
    """The trials that have started since then and have not ended; `classifier`: seconds of a classifier's training."""
    found = []
    for folder in sorted((study / "checkpoints").glob("*")) if since else ():
        with suppress(FileNotFoundError, Damaged):  # it has just begun, or just ended
            started = read_json(started_file(folder))
            if folder.name not in ended and datetime.fromisoformat(started["started_at"]) >= since:
                found.append(running_trial(study, folder.name, started[STAGES], classifier))
    return found


def running_trial(study: Path, trial_id: str, epochs: dict[str, int | None], classifier: float) -> Running:
    """What the last report of a trial says; `epochs` has the epochs of each stage."""
    path = study / "history" / f"{trial_id}.parquet"
    try:
        *_, last = read_part(path, HISTORY).to_pylist()
        age = max(0.0, time.time() - path.stat().st_mtime)
    except (TableError, OSError, ValueError):
        return Running(trial_id)
    stage, epoch, total = last["stage"], last["epoch"], epochs[last["stage"]]
    if total is None:
        return Running(trial_id, stage, epoch, None, last["frechet_distance"])
    left = (total - epoch) * last["seconds"] / max(epoch, 1) + (classifier if stage == "gan" else 0.0)
    return Running(trial_id, stage, epoch, total, last["frechet_distance"], max(0.0, left - age))


def cost_of_a_trial(rows: list[dict], left: int, gans: int | None) -> float | None:
    """Mean seconds of the trials that are left, their start included, by those that have ended; None where none has.

    `gans`: how many of those left train a GAN; None: the same share as of those that have ended.
    """
    if not rows:
        return None
    if gans is None or left <= 0:
        return mean(map(seconds_of, rows))
    gans = min(max(gans, 0), left)  # a search knows only roughly how many
    training = [seconds_of(row) for row in rows if trained_its_gan(row)] or [mean(map(seconds_of, rows))]
    others = [seconds_of(row) for row in rows if not trained_its_gan(row)] or [_mean(rows, "classifier_seconds")]
    return (gans * mean(training) + (left - gans) * mean(others)) / left


def trained_its_gan(row: dict) -> bool:
    return row["gan_seconds"] is not None and not row["gan_reused"]


def seconds_of(row: dict) -> float:
    """A trial with its start."""
    return (row["seconds"] or row["gan_seconds"] or 0.0) + (row["startup_seconds"] or 0.0)


def time_left(running: tuple[Running, ...], left: int, cost: float | None, at_once: int) -> float | None:
    """Seconds until all trials have ended, if so many run at once; None where nothing was measured.

    `left`: trials that have not ended, those that run included. `cost`: seconds of one.
    """
    if left <= 0:
        return 0.0
    if cost is None:
        return None
    begun = sum(cost if one.seconds_left is None else one.seconds_left for one in running)
    return (begun + max(0, left - len(running)) * cost) / min(at_once, left)


def _mean(rows: list[dict], column: str) -> float:
    values = [row[column] for row in rows if row[column] is not None]
    return mean(values) if values else 0.0


@lru_cache(maxsize=10_000)
def _row(path: Path, version: int) -> dict | None:
    """A trial's row, or None where it cannot be read; `version` changes with the file."""
    try:
        table: pa.Table = read_part(path, TRIALS)
    except TableError:
        return None
    return table.select(COLUMNS).to_pylist()[0]
