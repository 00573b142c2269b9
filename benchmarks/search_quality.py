"""How much work our search needs to find what random search finds: 200 simulated studies.

taskset -c 0 python benchmarks/search_quality.py [--studies 200] [--first 0] [--quick]

Each study draws its own landscape: what each setting is worth, and how a GAN's Frechet distance falls. Noise, slope and
spread of these curves are those of recorded trainings (`RECORDED`). Our side is the real `Search` and the
real stopping rule, asynchronous on two workers, with GANs reused; the rival draws every parameter at random, trains
each GAN to its end and uses it once. Work is counted in epochs of a GAN, a classifier's at their recorded price; the
rival's budget is `TRIALS` trials. A side's pick is the trial that it has measured best.

Rows: our pick when 15 and 25 % of the rival's budget is spent, against the rival's at the end of it; in how many of the
studies ours is no worse. "Measured" compares what the picks scored; "worth" what they are worth without noise, of
which a pick made by noisy scores falls short on both sides.
"""

import argparse
import bisect
import heapq
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ray.tune.schedulers import TrialScheduler

from benchmarks.harness.interleaved import report
from study.cluster.bridge import StopBadGans
from study.config import TrialConfig, make_config, preset
from study.search.proposer import Search
from study.search.space import NUISANCE, SPACE, Choice, Range, generator_side
from study.search.stopping import Halving
from study.training.seeds import derive_seed

TRIALS, WORKERS = 40, 2
SHARES = (0.15, 0.25)  # of the rival's budget
# log distance = end - slope * log(epoch / last epoch) + noise, fitted by least squares to 19 GANs of 60 to 300 epochs
# (13 on real patches at 32 px, two at 64 px, four on the sample data): mean and deviation over GANs.
RECORDED = {
    "slope": (0.161, 0.060),
    "noise": (0.058, 0.025),   # deviation of what the fit leaves, correlated from one measurement to the next:
    "autocorrelation": 0.34,
    "seed": 0.047,             # deviation of the end over seeds of one configuration (4 and 7 GANs)
    "configuration": 0.09,     # the same over configurations (three backbones, with and without LSTM)
    "classifier_epoch": 0.12,  # GAN epochs that one costs, for each real or synthetic image there is to a real one
}  # fmt: skip
# Shares of the variance of a trial's validation score. Recorded: on real patches (logit AUROC of two GANs, three seeds,
# three ratios) GAN 0.35, its seed 0.15, ratio 0.15, the rest 0.35; on the sample data (four GANs twice, with another
# ratio and classifier) GAN 0, the rest 1. "diagnosis" lies between; "distance" is the search for the lowest distance.
WORTH = {
    "diagnosis": {"gan": 0.30, "synthetic_ratio": 0.15, "classifier": 0.25, "noise": 0.30},
    "distance":  {"gan": 1.00, "synthetic_ratio": 0.00, "classifier": 0.00, "noise": 0.00},
}  # fmt: skip
OBJECTIVE = {"diagnosis": "auroc", "distance": "frechet"}
GAN_SETTINGS = ("backbone", "lstm_depth", "penalty_weight", "generator_lr", "critic_lr")


class Landscape:
    """What one simulated study's settings are worth."""

    def __init__(self, seed: int, base: TrialConfig, worth: dict[str, float]):
        self.seed, self.base, self.worth = seed, base, worth
        draws = np.random.default_rng([seed, 0])
        self.effects = {
            name: dict(zip(domain.values, effects(draws, domain), strict=True))
            for name, domain in SPACE.items()
            if isinstance(domain, Choice)
        }
        self.optimum = {"classifier_lr": draws.uniform(-1, 1), "dropout": draws.uniform(-1, 1)}
        self.noise = np.random.default_rng([seed, 1])

    def gan_merit(self, config: TrialConfig) -> float:
        """The GAN's worth in deviations over configurations: equal parts of its settings, and of their meeting."""
        parts = [self.effects[name][self._level(config, name)] for name in GAN_SETTINGS]
        return (sum(parts) + self._own(config, "meeting").normal()) / np.sqrt(len(parts) + 1)

    def quality(self, config: TrialConfig) -> float:
        """A trial's worth without noise."""
        classifier = -sum(self._distance_from_optimum(config, name) for name in self.optimum)
        ratio = self.effects["synthetic_ratio"][config.synthetic_ratio]
        parts = {"gan": self.gan_merit(config), "synthetic_ratio": ratio, "classifier": classifier}
        return sum(value * np.sqrt(self.worth[name]) for name, value in parts.items())

    def curve(self, config: TrialConfig) -> dict[int, float]:
        """The GAN's distance at each measurement, by epoch; the same for equal settings."""
        own = self._own(config, "curve")
        epochs = np.arange(config.gan_eval_interval, config.gan_epochs + 1, config.gan_eval_interval)
        scale, correlation = max(0.02, own.normal(*RECORDED["noise"])), RECORDED["autocorrelation"]
        noise = own.normal(0, scale, len(epochs))
        for step in range(1, len(noise)):
            noise[step] = correlation * noise[step - 1] + np.sqrt(1 - correlation**2) * noise[step]
        end = 5 - RECORDED["configuration"] * self.gan_merit(config) + own.normal(0, RECORDED["seed"])
        slope = max(0.0, own.normal(*RECORDED["slope"]))
        distances = np.exp(end - slope * np.log(epochs / config.gan_epochs) + noise)
        return dict(zip(epochs.tolist(), distances.tolist(), strict=True))

    def measured(self, config: TrialConfig) -> dict:
        """A finished trial's result columns; the luck of its GAN's training is in both."""
        distance = self.curve(config)[config.gan_epochs]
        luck = (5 - np.log(distance)) / RECORDED["configuration"] - self.gan_merit(config)
        noise = self.noise.normal() * np.sqrt(self.worth["noise"])
        score = self.quality(config) + luck * np.sqrt(self.worth["gan"]) + noise
        return {"frechet_distance": distance, "validation_auroc": float(score)}

    def _level(self, config: TrialConfig, name: str):
        value = getattr(config, name)
        return round(value / getattr(self.base, name), 6) if name in NUISANCE else value

    def _distance_from_optimum(self, config: TrialConfig, name: str) -> float:
        """Squared, on a range scaled to (-1, 1); the sum over both has a deviation of about 1."""
        if name == "classifier_lr":
            place = np.log(config.classifier_lr / self.base.classifier_lr) / np.log(NUISANCE[name].high)
        else:
            place = (config.dropout - 0.25) / 0.25
        return (place - self.optimum[name]) ** 2

    def _own(self, config: TrialConfig, use: str) -> np.random.Generator:
        """Random numbers that belong to a GAN's settings."""
        return np.random.default_rng(derive_seed(self.seed, use, *map(str, gan_of(config))))


def effects(draws: np.random.Generator, domain: Choice) -> np.ndarray:
    """What each value is worth, mean 0 and deviation 1: numbers have one best place, names are drawn at random."""
    if isinstance(domain.values[0], str):
        values = draws.normal(size=len(domain.values))
    else:
        values = -((np.linspace(-1, 1, len(domain.values)) - draws.uniform(-1, 1)) ** 2)
    return (values - values.mean()) / values.std()


def gan_of(config: TrialConfig) -> tuple:
    return tuple(sorted(generator_side(config.model_dump()).items()))


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
    trial = SimpleNamespace(trial_id=proposal.trial_id, config={"stoppable": proposal.stoppable})
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first; the search was tuned on 1000 and up")
    parser.add_argument("--quick", action="store_true", help="a small study: does it run at all?")
    options = parser.parse_args(arguments)
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
