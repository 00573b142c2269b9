"""How much work our search needs to find what random search finds: 200 simulated studies.

taskset -c 0 python benchmarks/search_quality.py [--studies 200] [--first 0] [--quick]

`--first` is the seed of the first study; the search was tuned on 1000 and up.

Each study draws its own landscape: what each setting is worth, and how a GAN's Frechet distance falls. Noise, slope and
spread of these curves are those of recorded trainings (`RECORDED`). Our side is the real `Search`, its finalists
and the real stopping rule, asynchronous on two workers, with GANs reused; the rival draws every parameter at random,
trains each GAN to its end and uses it once. Work is counted in epochs of a GAN, a classifier's at their recorded price;
the rival runs `TRIALS` trials, and its pick is the one that it has measured best. Of distances our pick is by the last
quarter of a GAN's measurements, as on the leaderboard.

Rows: in how many of the studies our pick is worth no less than the rival's, noise aside: for 15 and 25 % of the rival's
work, for as many trials, and for 25 % of the work by ways that ours is compared with (`WAYS`).
"""

import heapq
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ray.tune.schedulers import TrialScheduler

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.harness.landscape import RECORDED, WORTH, Landscape, gan_of
from study.cluster.bridge import StopBadGans
from study.config import TrialConfig, make_config, preset
from study.search.finalists import MOST_FINALISTS, Finalists
from study.search.proposer import Proposal, Search
from study.search.space import SPACE, Choice, Range
from study.search.stopping import Halving

TRIALS, WORKERS = 40, 2
SHARES = (0.15, 0.25)  # of the rival's work
BOUNDS = {"25% of the work": ">= 80 %", "as many trials": ">= 90 %"}
OBJECTIVE = {"diagnosis": "auroc", "distance": "frechet"}


@dataclass
class FixedEpoch(Halving):
    """Judges each GAN once, at a quarter of its training, which is known to rival successive halving."""

    def milestones(self) -> list[int]:
        return [self._measured(self.last_epoch / 4)]


@dataclass(frozen=True)
class Way:
    """A way to search and to pick."""

    finalists: int = MOST_FINALISTS
    shrinks: bool = True  # picks by posterior mean, not by the highest score
    rule: type[Halving] = Halving


WAYS = {
    "no finalists": Way(0),
    "no finalists, highest score": Way(0, shrinks=False),
    "discarded at a fixed epoch": Way(rule=FixedEpoch),
}


def classifier_work(config: TrialConfig) -> float:
    return config.classifier_epochs * RECORDED["classifier_epoch"] * (1 + config.synthetic_ratio)


def score_of(result: dict, objective: str, distance: str = "frechet_distance") -> float:
    return result["validation_auroc"] if objective == "auroc" else -result[distance]


def random_search(land: Landscape, objective: str, trials: int = TRIALS) -> tuple[float, float]:
    """`trials` trials with every parameter drawn at random: what the pick is worth, and the work."""
    draws, picks, work = np.random.default_rng([land.seed, 2]), [], 0.0
    for _ in range(trials):
        values = {name: drawn(draws, domain, getattr(land.base, name)) for name, domain in SPACE.items()}
        config = make_config(land.base.model_dump() | values)
        work += config.gan_epochs + classifier_work(config)
        picks.append((score_of(land.measured(config), objective), land.quality(config)))
    return max(picks)[1], work


def drawn(draws: np.random.Generator, domain: Choice | Range, preset_value):
    """A value of the domain, each as likely as the others."""
    if isinstance(domain, Choice):
        value = domain.values[draws.integers(len(domain.values))]
        return value * preset_value if domain.relative else value
    if domain.relative:
        return float(np.exp(draws.uniform(np.log(domain.low), np.log(domain.high)))) * preset_value
    return float(draws.uniform(domain.low, domain.high))


@dataclass
class OurSide:
    """The real search and stopping rule on WORKERS workers, until the work or the trials are spent."""

    land: Landscape
    objective: str
    way: Way
    search: Search
    trained: dict[tuple, int] = field(default_factory=dict)  # epochs of each GAN so far
    measured: dict[str, float] = field(default_factory=dict)  # the score of each trial

    def __post_init__(self):
        self.stopping = StopBadGans(self.search.rule)

    def pick(self, work: float) -> float:
        """What the trial is worth that is picked when `work` is done."""
        self.run(work / WORKERS)
        best = max(self.measured, key=self.measured.get, default=None)
        if self.way.shrinks and self.objective == "auroc":
            best = next(iter(self.search.finalists.ranked().index), None)
        return self.land.quality(self.search.configs[best]) if best else -np.inf

    def run(self, end: float) -> None:
        now, order = 0.0, WORKERS
        self.search.finish_by(end, WORKERS, lambda: now)
        clock = [(0.0, number, self.trial()) for number in range(WORKERS)]  # (time, order, the trial at work)
        while clock:
            now, _, steps = heapq.heappop(clock)
            if now >= end:
                return
            cost = next(steps, None)
            if cost is None and (steps := self.trial()):
                cost = 0.0
            if cost is not None:
                order += 1
                heapq.heappush(clock, (now + cost, order, steps))

    def trial(self) -> Iterator[float] | None:
        """One trial as a coroutine that yields what its next step costs; None where none is left."""
        proposal = self.search.ask()
        return self.steps(proposal) if proposal else None

    def steps(self, proposal: Proposal) -> Iterator[float]:
        config, gan = proposal.config, gan_of(proposal.config)
        trial = SimpleNamespace(
            trial_id=proposal.trial_id,
            config={"stoppable": proposal.stoppable, "judged": proposal.of_the_search},
        )
        known = self.trained.get(gan, 0)
        for epoch, distance in self.land.curve(config).items():
            if epoch > self.trained.get(gan, 0):
                self.trained[gan] = epoch
                yield config.gan_eval_interval
            result = {"epoch": epoch, "frechet_distance": distance, "gan_key": str(gan)}
            if self.stopping.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                self.search.tell(proposal.number, "pruned", {"trial_id": proposal.trial_id, "gan_key": str(gan)})
                return
        seconds = {"gan_seconds": config.gan_epochs - known, "classifier_seconds": classifier_work(config)}
        yield seconds["classifier_seconds"]
        result = self.land.measured(config)
        columns = {"trial_id": proposal.trial_id, "gan_key": str(gan), "gan_reused": known == config.gan_epochs}
        self.search.tell(proposal.number, "completed", result | columns | seconds)
        if proposal.number is not None:
            self.measured[proposal.trial_id] = score_of(result, self.objective, "frechet_recent")


def our_pick(land: Landscape, objective: str, work: float, way: Way, trials: float = np.inf) -> float:
    """What our pick is worth after so much work, or so many trials and their finalists."""
    finalists = Finalists(way.finalists if objective == "auroc" else 0)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        rows = {"baseline-000": {"phase": "baseline", "status": "completed"}}
        search = Search(Path(folder), land.base, {}, objective, rows, (), trials, finalists)
        search.rule = way.rule(land.base.gan_epochs, land.base.gan_eval_interval)
        return OurSide(land, objective, way, search).pick(work)


def simulate(seed: int, what: str, trials: int = TRIALS) -> dict[str, bool]:
    """One study: by comparison, whether our pick is worth no less than the rival's."""
    base, objective = make_config(preset("search") | {"seed": seed}), OBJECTIVE[what]

    def land() -> Landscape:
        return Landscape(seed, base, WORTH[what])

    rival, work = random_search(land(), objective, trials)
    sides = {f"{share:.0%} of the work": (share * work, Way()) for share in SHARES}
    picks = {name: our_pick(land(), objective, *side) for name, side in sides.items()}
    picks["as many trials"] = our_pick(land(), objective, np.inf, Way(), trials)
    if objective == "auroc":
        picks |= {name: our_pick(land(), objective, SHARES[-1] * work, way) for name, way in WAYS.items()}
    return {name: pick >= rival for name, pick in picks.items()}


def main(arguments: list[str] | None = None) -> None:
    options = benchmark_parser(__doc__, "a small study", studies=200, first=0).parse_args(arguments)
    studies, trials = (1, 8) if options.quick else (options.studies, TRIALS)
    seeds = range(options.first, options.first + studies)
    rows, result = [], {"studies": studies, "trials_of_rival": trials, "workers": WORKERS}
    for what in WORTH:
        outcomes = [simulate(seed, what, trials) for seed in seeds]
        for name in outcomes[0]:
            won = sum(outcome[name] for outcome in outcomes) / studies
            rows.append((f"{what}, {name}", f"{won:.0%}", BOUNDS.get(name, "")))
            result[f"{what}, {name}"] = won
    report(rows, result)


if __name__ == "__main__":
    main()
