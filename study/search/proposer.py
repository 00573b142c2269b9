"""Optuna as this study uses it: what to try next, what came of it, and where it was interrupted. No Ray here."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import OBJECTIVES, TrialConfig, make_config
from study.search.records import end_of, open_optuna, record_proposal, trial_id
from study.search.space import SCIENTIFIC, generator_side, paper_configurations, searched
from study.training.seeds import derive_seed

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is the caller's to print
# Trials that a GAN which was not stopped gets: each synthetic ratio once. In simulated studies four uses found a
# better trial for the same work than two (benchmarks/search_quality.py).
USES_OF_A_GAN = len(SCIENTIFIC["synthetic_ratio"].values)
NEW_GAN_EVERY = 3  # trials of the search: known GANs are used in between, and a short study sees new ones, too


@dataclass(frozen=True)
class Proposal:
    """A trial to run. `number` is Optuna's, None for the real-only baseline, which is no part of the search."""

    trial_id: str
    phase: str
    number: int | None
    config: TrialConfig
    stoppable: bool = False  # the paper's configurations run to their end, and a GAN that is reused costs nothing
    columns: dict = field(default_factory=dict)  # more of its row
    followers: tuple["Proposal", ...] = ()  # run after it on the same worker, which saves Ray's start


class Proposer(Protocol):
    """What a driver needs of a search, or of any other list of trials of one study."""

    folder: Path
    base: TrialConfig

    def ask(self) -> Proposal:
        """The next trial to run."""

    def tell(self, number: int | None, status: str, result: dict) -> None:
        """The end of a trial: its status and result columns."""


class Search:
    """Proposes trials and hears their results; everything is kept in `<study>/optuna.db` and `<study>/proposals/`.

    Order: the real-only baseline; trials that an interruption left unfinished; the paper's configurations; then each
    finished GAN with every other synthetic ratio before a new GAN, whose scientific parameters are the least
    used values so far. Nuisance parameters come from TPE.
    """

    def __init__(self, folder: Path, base: TrialConfig, fixed: dict, objective: str, ended: set[str]):
        """`base`: the preset with `fixed` applied; `fixed`: `--set`; `ended`: ids of trials that have a row."""
        self.folder, self.base, self.fixed = folder, base, fixed
        self.objectives = OBJECTIVES[objective]
        self.paper = paper_configurations(base, fixed)
        self.study = open_optuna(folder, self.objectives, derive_seed(base.seed, "tpe") % 2**32)
        while self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.ask()  # killed while it was proposing
        real = base.model_copy(update={"synthetic_ratio": 0.0, "training_images": "real_and_synthetic"})
        baseline = Proposal("baseline-000", "baseline", None, real)
        self.waiting = [] if baseline.trial_id in ended else [baseline]
        self.waiting += [self._proposal(optuna.trial.Trial(self.study, trial._trial_id)) for trial in self.unfinished()]

    def unfinished(self) -> list[FrozenTrial]:
        """Trials that were proposed and not told of."""
        return self.study.get_trials(states=(TrialState.RUNNING,))

    def num_proposed(self) -> int:
        return len(self.study.get_trials(deepcopy=False))

    def ask(self) -> Proposal:
        """The next trial to run."""
        if self.waiting:
            return self.waiting.pop(0)
        number = self.num_proposed()
        if number < len(self.paper):
            values, attributes = self.paper[number], {"phase": "paper", "stoppable": False}
        elif (number - len(self.paper)) % NEW_GAN_EVERY and (values := self._reuse_values()):
            attributes = {"phase": "search", "stoppable": False}
        else:
            values, attributes = self._new_gan_values(), {"phase": "search", "stoppable": True}
        self.study.enqueue_trial(values, user_attrs=attributes)
        return self._proposal(self.study.ask())

    def tell(self, number: int | None, status: str, result: dict) -> None:
        """The end of a trial: its status and result columns. A second telling changes nothing."""
        if number is None or self.study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        state, values = end_of(status, result, self.objectives)
        self.study.tell(number, values, state)

    def _reuse_values(self) -> dict | None:
        """The least used finished GAN with uses left, at its least used synthetic ratio; None when there is none."""
        if "synthetic_ratio" in self.fixed:
            return None
        trials = self.study.get_trials(deepcopy=False)
        uses = Counter(_gan_of(trial.params) for trial in trials)
        finished = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
        if not (left := [params for params in finished if uses[_gan_of(params)] < USES_OF_A_GAN]):
            return None
        chosen = min(left, key=lambda params: uses[_gan_of(params)])
        used = {t.params["synthetic_ratio"] for t in trials if _gan_of(t.params) == _gan_of(chosen)}
        ratio = self._least_used("synthetic_ratio", trials, without=used)
        return {**generator_side(chosen), "synthetic_ratio": ratio}

    def _new_gan_values(self) -> dict:
        trials = self.study.get_trials(deepcopy=False)
        return {name: self._least_used(name, trials) for name in SCIENTIFIC if name not in self.fixed}

    def _least_used(self, name: str, trials: list[FrozenTrial], without: frozenset | set = frozenset()):
        """The value of a scientific parameter that the fewest trials have; ties are drawn by lot."""
        counts = Counter(trial.params[name] for trial in trials if name in trial.params)
        lots = np.random.default_rng(derive_seed(self.base.seed, "design", name, len(trials)))
        values = [value for value in SCIENTIFIC[name].values if value not in without]
        return min(lots.permutation(np.array(values, dtype=object)), key=lambda value: counts[value])

    def _proposal(self, trial: optuna.Trial) -> Proposal:
        for name, domain in searched(self.fixed).items():
            domain.suggest(trial, name, getattr(self.base, name))  # what was suggested before stays as it was
        record_proposal(self.folder, trial)
        attributes = trial.user_attrs
        name, config = trial_id(trial.number, attributes), make_config(self.base.model_dump() | trial.params)
        return Proposal(name, attributes["phase"], trial.number, config, attributes["stoppable"])


def _gan_of(parameters: dict) -> tuple:
    return tuple(sorted(generator_side(parameters).items()))
