"""The search: which trial to run next, by Thompson sampling, kept by Optuna. No Ray here."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from results.tables.attempts import runs_again
from results.tables.schema import FINALIST
from study.config import OBJECTIVES, SYSTEM_TRIAL, SYSTEMS, GanConfig, TrialConfig, make_config
from study.search.finalists import Finalists, repeat_id
from study.search.pictures import Pictures
from study.search.records import (
    end_of,
    optuna_trial,
    read_proposals,
    trial_id,
    write_optuna,
    write_proposal,
)
from study.search.space import (
    SCIENTIFIC,
    distributions,
    gan_of,
    generator_side,
    key_of,
    paper_configurations,
    system_configs,
    system_distributions,
)
from study.search.stopping import Halving, measured_curves
from study.search.thompson import choose, random_values
from study.training.seeds import derive_seed

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is the caller's to print
NEW_GAN_EVERY = 3  # trials of the search; those in between use known GANs again
FAIR_SHARE = 1     # GANs of each scientific value, and trials of each ratio, before the search prefers what looks good
CANDIDATES = 300   # among which the next trial is chosen
(DISTANCE,) = OBJECTIVES["frechet"]


@dataclass(frozen=True)
class Proposal:
    """A trial to run. `number` is Optuna's, None for the baseline and the systems, which are no part of the search."""

    trial_id: str
    phase: str
    number: int | None
    config: TrialConfig
    stoppable: bool = False  # the paper's configurations run to their end, and a GAN that is reused costs nothing
    columns: dict = field(default_factory=dict)  # more of its row
    of_the_search: bool = True  # whether its GAN is one that the search chose


class Proposer(Protocol):
    """What the driver needs: a search, or any other list of a study's trials."""

    folder: Path
    base: TrialConfig
    part: str  # of the study: search, confirmation or benchmark
    rule: Halving  # by which GANs of the search are stopped; hears of all

    def ask(self) -> Proposal | None:
        """The next trial to run; None where there is none, or none before a trial at work has ended."""

    def tell(self, number: int | None, status: str, result: dict) -> None:
        """The end of a trial: its status and result columns."""

    def num_left(self) -> int:
        """How many trials there are still to ask for, as far as that is known."""

    def gans_left(self) -> int:
        """How many of them train a GAN."""


@dataclass
class FixedTrials:
    """Proposes a fixed list of trials, of a confirmation or a benchmark: first those that train a GAN.

    While a trial trains a GAN, others that share it come after all others: they would wait for it. Once all have ended,
    those of `then` follow, in the slots that Ray Tune has kept: the last, for it ends a slot that waits.
    """

    folder: Path
    base: TrialConfig
    waiting: list[Proposal]
    part: str = "confirmation"  # of the study
    then: Callable[[], list[Proposal]] | None = None
    num_then: int = 0  # how many those will be
    gans_then: int = 0  # how many of them train a GAN
    rule: Halving = field(init=False)
    at_work: dict[str, Proposal] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)  # GANs

    def __post_init__(self):
        self.rule = Halving(self.base.gan_epochs, self.base.gan_eval_interval)
        self._go_on()

    def num_left(self) -> int:
        return len(self.waiting) + self.num_then

    def gans_left(self) -> int:
        return len({shared_gan(proposal) for proposal in self.waiting} - self.trained - {None}) + self.gans_then

    def ask(self) -> Proposal | None:
        if not self.waiting:
            return None
        training = {shared_gan(proposal) for proposal in self.at_work.values()} - self.trained

        def turn(proposal: Proposal) -> int:
            gan = shared_gan(proposal)
            return 1 if gan is None or gan in self.trained else 2 * (gan in training)

        proposal = min(self.waiting, key=turn)
        self.waiting.remove(proposal)
        self.at_work[proposal.trial_id] = proposal
        return proposal

    def tell(self, number: int | None, status: str, result: dict) -> None:
        proposal = self.at_work.pop(result["trial_id"])
        if status == "completed" and proposal.config.uses_gan:
            self.trained.add(shared_gan(proposal))
        self._go_on()

    def _go_on(self) -> None:
        if self.then and not self.waiting and not self.at_work:
            self.waiting, self.then, self.num_then, self.gans_then = self.then(), None, 0, 0


def shared_gan(proposal: Proposal) -> str | None:
    """What the trials of one GAN have in common; None for a trial without one."""
    config, split = proposal.config, str(proposal.columns.get("split_protocol"))
    return config.gan_key(split, "") if config.uses_gan else None


class Search:
    """Proposes trials and hears their results; `study.search.records` says what it keeps on disk.

    Order: the real-only baseline; the systems that are trained once; trials that an interruption left unfinished; the
    paper's configurations; then trials that use finished GANs again, the systems' too, and every third one with a new
    GAN. Once each scientific value has had its fair share, Thompson sampling chooses all values (`thompson.py`), before
    that all others. The repeats of the finalists come last: once `remaining` trials are proposed, or the time of
    `finish_by` leaves no more than they need.
    """

    part = "search"

    def __init__(
        self,
        folder: Path,
        base: TrialConfig,
        fixed: dict,
        objective: str,
        rows: dict[str, dict],
        systems: Sequence[str] = (),
        remaining: float = math.inf,
        finalists: Finalists | None = None,
    ):
        """`base`: the preset with `fixed` applied; `fixed`: `--set`; `rows`: the study's rows so far by trial id, each
        without its empty columns; `systems`: names in `SYSTEMS`, of methods to train once; `remaining`: trials to run
        besides the repeats of the `finalists`. `mended` then holds a line for each damaged proposal.
        """
        self.folder, self.base = folder, base
        self.objectives, self.space = OBJECTIVES[objective], distributions(base, fixed)
        self.paper, self.systems = paper_configurations(base, fixed), system_configs(base, systems)
        self.space_of_systems = system_distributions(self.space, systems)
        records, self.mended = read_proposals(folder, rows, self.paper, self.space_of)
        self.rule = Halving(base.gan_epochs, base.gan_eval_interval, measured_curves(folder))
        self.pictures = Pictures(folder)
        ended = [record and rows.get(trial_id(record)) for record in records]
        trials = [
            optuna_trial(record, row, self.objectives, self.pictures)
            for record, row in zip(records, ended, strict=True)
        ]
        self.gan_keys = {  # by a GAN's parameters
            gan_of(record["parameters"]): row["gan_key"]
            for record, row in zip(records, ended, strict=True)
            if row and "gan_key" in row
        }
        self.study, self.storage = write_optuna(folder, self.objectives, trials)
        real = base.model_copy(update={"synthetic_ratio": 0.0, "training_images": "real_and_synthetic"})
        once = [Proposal("baseline-000", "baseline", None, real)]
        self.system_trials = {f"{SYSTEM_TRIAL}{list(SYSTEMS).index(name):03d}": name for name in systems}
        once += [
            Proposal(trial, "system", None, self.systems[name], of_the_search=False)
            for trial, name in self.system_trials.items()
        ]
        self.trained = [name for trial, name in self.system_trials.items() if has_completed(rows.get(trial))]
        self.waiting = [proposal for proposal in once if is_to_run(rows.get(proposal.trial_id))]
        self.waiting += [self._proposal(records[trial.number]) for trial in self.unfinished()]
        self.left = remaining - len(self.waiting)
        known = once + [self._proposal(record) for record in records if record]
        self.configs = {proposal.trial_id: proposal.config for proposal in known}
        self.finalists, self.seconds_left, self.at_once = finalists or Finalists(0), lambda: math.inf, 1

    def unfinished(self) -> list[FrozenTrial]:
        """Trials that were proposed and have not ended."""
        return self.study.get_trials(states=(TrialState.RUNNING,))

    def finish_by(self, deadline: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with the finalists in time for them to end by `deadline` on `clock`, so many trials at once."""
        self.seconds_left, self.at_once = lambda: deadline - clock(), at_once

    def ask(self) -> Proposal | None:
        """The next trial to run; None where there is none, or none before a trial at work has ended."""
        if self.waiting:
            return self.waiting.pop(0)
        if self.left <= 0 or self.seconds_left() < self.finalists.seconds_needed(self.at_once):
            if chosen := self.finalists.next():
                return self._repeat(*chosen)
            if self.left <= 0:
                return None
        self.left -= 1
        proposal = self._next_of_search()
        self.configs[proposal.trial_id] = proposal.config
        return proposal

    def num_left(self) -> int:
        """Of the search and of the finalists."""
        return len(self.waiting) + max(self.left, 0) + self.finalists.left(goes_on=self.left > 0)

    def gans_left(self) -> int:
        """Of those that were proposed, and of the numbers to come."""
        waiting = [one for one in self.waiting if one.config.uses_gan and (one.stoppable or one.phase != "search")]
        number = len(self.study.get_trials(deepcopy=False))
        return len(waiting) + sum(map(self._trains_a_gan, range(number, number + max(self.left, 0))))

    def _trains_a_gan(self, number: int) -> bool:
        """Whether the trial of this number of Optuna's has a new GAN, though finished ones could be used: in a search
        for the lowest distance all have, where a second use would tell nothing new."""
        is_due = (number - len(self.paper)) % NEW_GAN_EVERY == 0
        return number < len(self.paper) or is_due or self.objectives == OBJECTIVES["frechet"]

    def _repeat(self, trial: str, number: int) -> Proposal:
        """The classifier of a trial once more, with another seed."""
        config = self.configs[trial].model_copy(update={"classifier_seed": number})
        columns = {"confirms": trial}
        return Proposal(repeat_id(trial, number), FINALIST, None, config, columns=columns, of_the_search=False)

    def _next_of_search(self) -> Proposal:
        trials = self.study.get_trials(deepcopy=False)
        number = len(trials)
        if number < len(self.paper):
            values, attributes = self.paper[number], {"phase": "paper", "stoppable": False}
        else:
            lots = np.random.default_rng(derive_seed(self.base.seed, "search", number))
            gans = [] if self._trains_a_gan(number) else self._finished_gans(trials)
            with_gans = self._candidates(trials, gans, lots) if gans else []
            values = self._chosen(trials, with_gans or self._candidates(trials, [], lots), bool(with_gans), lots)
            attributes = {"phase": "search", "stoppable": not with_gans}
        self.study.enqueue_trial(values, user_attrs=attributes)
        space = self.space_of(values)
        parameters = self.study.ask(space).params
        return self._proposal(write_proposal(self.folder, number, attributes, parameters, space))

    def space_of(self, values: dict) -> dict[str, BaseDistribution]:
        """The distributions of a trial's parameters, by its parameters or its row."""
        return self.space_of_systems if values.get("system") in self.systems else self.space

    def tell(self, number: int | None, status: str, result: dict) -> None:
        """The end of a trial: its status and result columns. A second telling changes nothing."""
        if name := result.get("trial_id"):
            self.finalists.hear(name, status, result)
        if number is None:
            name = self.system_trials.get(result.get("trial_id"))
            if name and status == "completed" and name not in self.trained:
                self.trained.append(name)
            return
        if (trial := self.study.get_trials(deepcopy=False)[number]).state.is_finished():
            return
        if key := result.get("gan_key"):
            self.gan_keys[gan_of(trial.params)] = key
        self.pictures.attach(result, trial, self.storage)
        state, values = end_of(status, result, self.objectives)
        self.study.tell(number, values, state)

    def _finished_gans(self, trials: list[FrozenTrial]) -> list[dict]:
        """The parameters of each GAN that was trained to its end."""
        gans = [{"system": name} for name in self.trained]
        gans += [generator_side(trial.params) for trial in trials if trial.state == TrialState.COMPLETE]
        return list({gan_of(gan): gan for gan in gans}.values())

    def _candidates(self, trials: list[FrozenTrial], gans: list[dict], lots: np.random.Generator) -> list[dict]:
        """Parameters of trials with one of these GANs, or with a new one where there are none; none was tried before,
        unless the search has tried all that there are with new GANs."""
        due = self._due(trials, ("synthetic_ratio",) if gans else tuple(SCIENTIFIC), lots)
        candidates = []
        for _ in range(CANDIDATES):
            gan = gans[lots.integers(len(gans))] if gans else {}
            candidates.append(random_values(self.space_of(gan), lots) | due | gan)

        def untried(key: Callable[[dict], Hashable]) -> list[dict]:
            tried = {key(trial.params) for trial in trials}
            return [one for one in candidates if key(one) not in tried]

        return untried(key_of) if gans else untried(gan_of) or untried(key_of) or candidates

    def _chosen(
        self, trials: list[FrozenTrial], candidates: list[dict], reuses: bool, lots: np.random.Generator
    ) -> dict:
        """The candidate to try next: of two objectives the lot says which it is to serve, but a GAN that is used again
        keeps its distance."""
        objective = len(self.objectives) - 1 if reuses else lots.integers(len(self.objectives))
        if self.objectives[objective] == DISTANCE:
            return self._of_low_distance(trials, candidates, lots)
        known = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        scores = [trial.values[objective] for trial in known]
        return choose([trial.params for trial in known], scores, candidates, self.space, lots)

    def _of_low_distance(self, trials: list[FrozenTrial], candidates: list[dict], lots: np.random.Generator) -> dict:
        """The candidate whose GAN is to end low, by where all GANs would end, the stopped ones too."""
        ends = self.rule.expected_ends()
        known = {gan_of(trial.params): generator_side(trial.params) for trial in trials}
        known = {gan: known[gan] for gan in known if self.gan_keys.get(gan) in ends}
        scores = [-ends[self.gan_keys[gan]] for gan in known]
        of_gan = {gan_of(candidate): candidate for candidate in candidates}
        chosen = choose(list(known.values()), scores, list(map(generator_side, of_gan.values())), self.space, lots)
        return of_gan[gan_of(chosen)]

    def _due(self, trials: list[FrozenTrial], names: Sequence[str], lots: np.random.Generator) -> dict:
        """The least used value of each of these scientific parameters of which a value lacks its fair share."""
        due = {}
        for name in names:
            if name not in self.space:
                continue
            of_gan = name in GanConfig.model_fields
            users = {gan_of(trial.params) if of_gan else trial.number: trial.params.get(name) for trial in trials}
            counts = Counter(users.values())
            values = lots.permutation(np.array(SCIENTIFIC[name].values, dtype=object))
            rarest = min(values, key=lambda value: counts[value])
            if counts[rarest] < FAIR_SHARE:
                due[name] = rarest
        return due

    def _proposal(self, record: dict) -> Proposal:
        phase, stoppable = record["attributes"]["phase"], record["attributes"]["stoppable"]
        parameters = dict(record["parameters"])
        base = self.systems.get(parameters.pop("system", None), self.base)
        config = make_config(base.model_dump() | parameters)
        return Proposal(
            trial_id(record), phase, record["number"], config, stoppable, of_the_search=base is self.base
        )


def has_completed(row: dict | None) -> bool:
    return row is not None and row.get("status") == "completed"


def is_to_run(row: dict | None) -> bool:
    return row is None or runs_again(row.get("reason"))
