"""How much work our search needs to find what random search finds: 200 simulated studies.

taskset -c 0 python benchmarks/search_quality.py [--studies 200] [--first 0] [--quick]

`--first` is the seed of the first study; the search was tuned on 1000 and up.

Each study draws its own landscape: what each setting is worth, and how a GAN's Frechet distance falls. Noise, slope and
spread of these curves are those of recorded trainings (`RECORDED`). Our side is the real `Search` and the
real stopping rule, asynchronous on two workers, with GANs reused; the rival draws every parameter at random, trains
each GAN to its end and uses it once. Work is counted in epochs of a GAN, a classifier's at their recorded price; the
rival's budget is `TRIALS` trials. A side's pick is the trial that it has measured best.

Rows: our pick when 15 and 25 % of the rival's budget is spent, against the rival's at the end of it; in how many of the
studies ours is no worse. "Measured" compares what the picks scored; "worth" what they are worth without noise, of
which a pick made by noisy scores falls short on both sides.
"""

import bisect
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
from study.search.proposer import Search
from study.search.space import SPACE, Choice, Range
from study.search.stopping import Halving

TRIALS, WORKERS = 40, 2
SHARES = (0.15, 0.25)  # of the rival's budget
OBJECTIVE = {"diagnosis": "auroc", "distance": "frechet"}


def classifier_work(config: TrialConfig) -> float:
    return config.classifier_epochs * RECORDED["classifier_epoch"] * (1 + config.synthetic_ratio)


@dataclass
class Picks:
    """The trial measured best so far as work goes on: since when, how it was measured, what it is worth."""

    work: list[float] = field(default_factory=list)
    picks: list[dict[str, float]] = field(default_factory=list)

    def hear(self, work: float, score: float, quality: float) -> None:
        if not self.picks or score > self.picks[-1]["measured"]:
            self.work.append(work)
            self.picks.append({"measured": score, "worth": quality})

    def at(self, work: float) -> dict[str, float]:
        """The pick when `work` has been done."""
        known = bisect.bisect(self.work, work)
        return self.picks[known - 1] if known else {"measured": -np.inf, "worth": -np.inf}


def score_of(result: dict, objective: str) -> float:
    return result["validation_auroc"] if objective == "auroc" else -result["frechet_distance"]


def random_search(land: Landscape, objective: str, trials: int = TRIALS) -> tuple[Picks, float]:
    """`trials` trials with every parameter drawn at random; its picks and its budget."""
    draws, picks, work = np.random.default_rng([land.seed, 2]), Picks(), 0.0
    for _ in range(trials):
        values = {name: drawn(draws, domain, getattr(land.base, name)) for name, domain in SPACE.items()}
        config = make_config(land.base.model_dump() | values)
        work += config.gan_epochs + classifier_work(config)
        picks.hear(work, score_of(land.measured(config), objective), land.quality(config))
    return picks, work


def drawn(draws: np.random.Generator, domain: Choice | Range, preset_value):
    """A value of the domain, each as likely as the others."""
    if isinstance(domain, Choice):
        value = domain.values[draws.integers(len(domain.values))]
        return value * preset_value if domain.relative else value
    if domain.relative:
        return float(np.exp(draws.uniform(np.log(domain.low), np.log(domain.high)))) * preset_value
    return float(draws.uniform(domain.low, domain.high))


def our_search(land: Landscape, objective: str, folder: Path, budget: float) -> Picks:
    """The real search and stopping rule on WORKERS workers, until `budget` of work is spent."""
    search = Search(folder, land.base, {}, objective, rows={"baseline-000": {"phase": "baseline"}})
    stopping, picks = StopBadGans(Halving(land.base.gan_epochs, land.base.gan_eval_interval)), Picks()
    trained: dict[tuple, int] = {}  # epochs of each GAN so far
    clock = [(0.0, number, None) for number in range(WORKERS)]  # (time, order, the running trial's steps)
    order = WORKERS
    while clock[0][0] * WORKERS < budget:
        now, _, steps = heapq.heappop(clock)
        if steps is None:
            steps = run(search, stopping, land, trained, picks, objective)
            next(steps)
        try:
            cost = steps.send(now * WORKERS)
        except StopIteration:
            steps, cost = None, 0.0
        order += 1
        heapq.heappush(clock, (now + cost, order, steps))
    return picks


def run(
    search: Search, stopping: StopBadGans, land: Landscape, trained: dict, picks: Picks, objective: str
) -> Iterator[float | None]:
    """One trial as a coroutine: it is sent the work done so far, and yields what its next step costs."""
    proposal = search.ask()
    config, gan = proposal.config, gan_of(proposal.config)
    trial = SimpleNamespace(trial_id=proposal.trial_id, config={"stoppable": proposal.stoppable, "judged": True})
    work = yield None
    for epoch, distance in land.curve(config).items():
        if epoch > trained.get(gan, 0):
            trained[gan] = epoch
            work = yield config.gan_eval_interval
        result = {"epoch": epoch, "frechet_distance": distance, "gan_key": str(gan)}
        if stopping.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            search.tell(proposal.number, "pruned", {})
            return
    work = yield classifier_work(config)
    result = land.measured(config)
    search.tell(proposal.number, "completed", result)
    picks.hear(work, score_of(result, objective), land.quality(config))


def simulate(seed: int, what: str, trials: int = TRIALS) -> dict[tuple[str, float], bool]:
    """One study: by comparison and share of the rival's budget, whether our pick is no worse than the rival's."""
    base, objective = make_config(preset("search") | {"seed": seed}), OBJECTIVE[what]
    rival, budget = random_search(Landscape(seed, base, WORTH[what]), objective, trials)
    reference = rival.at(budget)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        ours = our_search(Landscape(seed, base, WORTH[what]), objective, Path(folder), budget * max(SHARES))
    return {(kind, share): ours.at(budget * share)[kind] >= reference[kind] for kind in reference for share in SHARES}


def main(arguments: list[str] | None = None) -> None:
    options = benchmark_parser(__doc__, "a small study", studies=200, first=0).parse_args(arguments)
    studies, trials = (1, 8) if options.quick else (options.studies, TRIALS)
    seeds = range(options.first, options.first + studies)
    rows, result = [], {"studies": studies, "trials_of_rival": trials, "workers": WORKERS}
    for what in WORTH:
        outcomes = [simulate(seed, what, trials) for seed in seeds]
        for kind, share in outcomes[0]:
            won = sum(outcome[kind, share] for outcome in outcomes) / studies
            rows.append((f"{what}, {kind}, {share:.0%} of the work", f"{won:.0%}", ">= 85 %" if share == 0.25 else ""))
            result[f"{what}_{kind}_{share:g}"] = won
    report(rows, result)


if __name__ == "__main__":
    main()
