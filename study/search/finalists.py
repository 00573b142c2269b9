"""The finalists of a search: its best trials, whose classifiers are trained again on the same images.

The best of many noisy scores is often luck. A few repeats of the best tell more of them than as much work on new
trials would (benchmarks/search_quality.py).
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from results.stats.repeated import worth
from results.tables.attempts import runs_again
from results.tables.schema import FINALIST

MOST_FINALISTS = 5
TRIALS_A_FINALIST = 3  # of a small search, so many to each
REPEATS = 3  # of each
COLUMNS = ["trial_id", "gan_key", "validation_auroc", "gan_reused", "gan_seconds", "classifier_seconds"]


def num_finalists(trials: int) -> int:
    """How many finalists a search of so many trials has: none where there would be one, with no rival."""
    num = min(MOST_FINALISTS, trials // TRIALS_A_FINALIST)
    return num if num > 1 else 0


def repeat_id(trial: str, number: int) -> str:
    """The id of a finalist's repeat, from 1 on."""
    return f"{FINALIST}-{trial}-{number}"


@dataclass
class Finalists:
    """Chooses whose classifier is trained again; is told of every trial of the search, and of every repeat."""

    num: int
    completed: dict[str, dict] = field(default_factory=dict)  # their rows' COLUMNS
    begun: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # the repeats of each trial

    def __post_init__(self):
        self.most = self.num * REPEATS  # of all: the best may change with each, among similar trials for long

    @classmethod
    def of_search(cls, num: int, rows: dict[str, dict], goes_on: bool, most: int | None = None) -> "Finalists":
        """`num` finalists of a search with these rows so far, by trial id; `goes_on`: more trials are to come, so that
        earlier repeats do not count; `most`: of all repeats, as it was when trials were last to come."""
        finalists = cls(num)
        for trial_id, row in rows.items():
            if not runs_again(row.get("reason")):
                finalists.hear(trial_id, row["status"], row)
        finalists.most = finalists.most + finalists.num_begun() if goes_on else most or finalists.most
        return finalists

    def num_begun(self) -> int:
        """Repeats so far."""
        return sum(map(len, self.begun.values()))

    def hear(self, trial_id: str, status: str, row: dict) -> None:
        """A trial has ended, with these columns of its row."""
        trial = trial_id
        if trial_id.startswith(f"{FINALIST}-"):
            trial, _, number = trial_id.removeprefix(f"{FINALIST}-").rpartition("-")
            self.begun[trial].add(int(number))
        if status == "completed":
            self.completed[trial_id] = {name: row.get(name) for name in COLUMNS} | {"trial_id": trial}

    def ranked(self) -> pd.DataFrame:
        """What the trials with a GAN are worth by now (`results.stats.repeated.worth`), the best first."""
        completed = self._completed()
        with_gan = completed.dropna(subset=["gan_key", "validation_auroc"])["trial_id"].unique()
        return worth(completed).reindex(with_gan).sort_values("estimate", ascending=False, kind="stable")

    def left(self, goes_on: bool) -> int:
        """Repeats still to come: all that are planned while the search goes on, then those that the best lack."""
        left = max(0, self.most - self.num_begun())
        if goes_on:
            return left
        return min(left, sum(REPEATS - len(self.begun[trial]) for trial in self.ranked().index[: self.num]))

    def next(self) -> tuple[str, int] | None:
        """Of the best by now the trial with the fewest repeats, and the number of its next; None after the last."""
        best = self.ranked().index[: self.num]
        trial = min(best, key=lambda name: len(self.begun[name]), default=None)
        if trial is None or len(self.begun[trial]) >= REPEATS or self.num_begun() >= self.most:
            return None
        number = next(number for number in range(1, REPEATS + 1) if number not in self.begun[trial])
        self.begun[trial].add(number)
        return trial, number

    def seconds_needed(self, at_once: int) -> float:
        """From now to the end of the repeats, if one more GAN is trained before; 0 while nothing is known of it."""
        completed = self._completed()
        trained = completed[completed["gan_reused"].eq(False)]
        classifier = completed["classifier_seconds"].mean()
        seconds = trained["gan_seconds"].mean() + classifier * (1 + np.ceil(self.num * REPEATS / at_once))
        return 0.0 if np.isnan(seconds) else float(seconds)

    def _completed(self) -> pd.DataFrame:
        completed = pd.DataFrame(list(self.completed.values()), columns=COLUMNS)
        return completed.astype(dict.fromkeys(("gan_seconds", "classifier_seconds"), float))
