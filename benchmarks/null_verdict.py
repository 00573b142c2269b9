"""How often the verdict errs: whole confirmations in which synthetic images change nothing, or gain a known amount.

python benchmarks/null_verdict.py [--studies 1000] [--real-studies 150] [--data PATH] [--fraction 0.05]
    [--trainings 64] [--processes 1] [--quick]

Simulated networks see the same images: a part of each image's difficulty is its wound's, a part its own, a part the
network's; and each training has a quality of its own, lucky or not on validation and test alike. A study draws arms,
chooses one by its validation AUROC over three seeds, and judges it as `results.stats` and the report do. Beside it
stand the power of the paired test on the judging seeds alone, and of the test that knows the true spread.

Then the same with real networks: `real` trained with many seeds on a part of the groups of the sample data, or of the
photographs in `--data`; every arm of a study is a draw of these trainings, so that nothing can be gained.
"""

import sys
import tempfile
from collections import Counter
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import binomtest, norm, rankdata

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.harness.photographs import prepared
from data_utils.dataset import load_dataset
from results.page.answer import directions
from results.stats.comparisons import compare
from results.stats.power import SIGNIFICANCE
from results.stats.scores import ImageSet, Scores
from results.stats.significance import accuracy_covariance, auroc_covariance, holm, paired_difference
from study.config import TrialConfig, make_config, preset
from study.trial.run import run_trial

CHOOSING = 3  # seeds of every arm, as `study/confirm.py` has by default
SEEDS, GROUPS, ARMS, SPREADS, GAINS = (3, 5, 10), (24, 60, 200), (1, 6, 21), (0.5, 2, 5), (1, 3, 8)  # points
ACCURACY = 0.85
SHARES = {"wound": 0.5, "image": 0.3, "network": 0.2}  # of an image's difficulty
POSITIVE = 0.45  # share of the wounds


@dataclass(frozen=True)
class Networks:
    """Trainings of one arm: probabilities (S, N) on test images, thresholds (S,), validation AUROC (S,)."""

    probabilities: np.ndarray
    thresholds: np.ndarray
    validation: np.ndarray

    def __getitem__(self, rows) -> "Networks":
        return Networks(self.probabilities[rows], self.thresholds[rows], self.validation[rows])


class Wounds:
    """Simulated images in wounds of one to five, half as many on validation as on test."""

    def __init__(self, draws: np.random.Generator, num_groups: int):
        self.draws = draws
        self.validation, self.test = self._side(max(num_groups // 2, 4)), self._side(num_groups)

    def _side(self, num_groups: int) -> tuple[ImageSet, np.ndarray]:
        groups = np.repeat(np.arange(num_groups), self.draws.integers(1, 6, num_groups))
        positive = np.arange(num_groups) < max(2, round(POSITIVE * num_groups))
        seen = np.sqrt(SHARES["wound"]) * self.draws.normal(size=num_groups)[groups]
        seen += np.sqrt(SHARES["image"]) * self.draws.normal(size=len(groups))
        return ImageSet("test", np.arange(len(groups)), groups, positive[groups].astype(int)), seen

    def train(self, number: int, accuracy: float, spread: float) -> Networks:
        """`number` trainings whose accuracies deviate by `spread` around `accuracy`, both in [0, 1]."""
        centre = norm.ppf(accuracy)
        quality = centre + spread / norm.pdf(centre) * self.draws.normal(size=number)
        validation, test = (self._logits(side, quality) for side in (self.validation, self.test))
        labels = self.validation[0].labels
        return Networks(norm.cdf(test), np.full(number, 0.5), aurocs(labels, validation))

    def _logits(self, side: tuple[ImageSet, np.ndarray], quality: np.ndarray) -> np.ndarray:
        images, seen = side
        own = np.sqrt(SHARES["network"]) * self.draws.normal(size=(len(quality), len(seen)))
        return seen + own + quality[:, None] * (2 * images.labels - 1)


def aurocs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(S,) of `scores` (S, N)."""
    positive = labels == 1
    num_positive, num_negative = positive.sum(), (~positive).sum()
    ranks = rankdata(scores, axis=1)[:, positive].sum(axis=1)
    return (ranks - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def judged(images: ImageSet, real: Networks, arms: list[Networks], judging: Networks) -> dict:
    """Outcome -> row of COMPARISONS, as a confirmation comes to it.

    `real` has the choosing and then the judging seeds; `arms` the choosing seeds, `judging` the judging ones.
    """
    chosen = max(arms, key=lambda arm: arm.validation.mean())
    sides = {
        ("confirm", "real"): real[:CHOOSING], ("judge", "real"): real[CHOOSING:],
        ("confirm", "real_and_synthetic_1"): chosen, ("judge", "real_and_synthetic_1"): judging,
    }  # fmt: skip
    scores = [scored(images, phase, arm, networks) for (phase, arm), networks in sides.items()]
    rows = [row for row in compare(scores) if row["phase"] == "judge"]
    return {row["metric"]: SimpleNamespace(**row) for row in rows}


def scored(images: ImageSet, phase: str, arm: str, networks: Networks) -> Scores:
    columns = {
        "study": "simulated", "phase": phase, "gan": None if arm == "real" else "gan", "arm": arm, "oversampling": 0.0,
        "classifier_key": "k", "split_protocol": "grouped", "training_fraction": 1.0, "positive_fraction": 1.0,
    }  # fmt: skip
    seeds = np.arange(len(networks.thresholds))
    condition = {"corruption": "none", "strength": 0}
    return Scores(columns, condition, images, seeds, networks.thresholds, networks.probabilities)


def simulate(seed: int, num_seeds: int, num_groups: int, num_arms: int, spread: float, gain: float) -> dict:
    """One study; `spread` and `gain` in points of accuracy. Verdicts, and the accuracy difference."""
    draws = np.random.default_rng([seed, num_seeds, num_groups, num_arms, round(10 * spread), round(10 * gain)])
    wounds = Wounds(draws, num_groups)
    images, better, deviation = wounds.test[0], ACCURACY + gain / 100, spread / 100
    real = wounds.train(CHOOSING + num_seeds, ACCURACY, deviation)
    arms = [wounds.train(CHOOSING, better, deviation) for _ in range(num_arms)]
    judging = wounds.train(num_seeds, better, deviation)
    rows = judged(images, real, arms, judging)
    return {
        "verdict": directions(rows),
        "paired": paired_verdict(images, judging, real[CHOOSING:]),
        "difference": rows["accuracy"].difference,
    }


def paired_verdict(images: ImageSet, a: Networks, b: Networks) -> bool:
    """Whether the paired test on the judging seeds alone shows a difference."""
    probabilities = np.concatenate([a.probabilities, b.probabilities])
    called = probabilities >= np.concatenate([a.thresholds, b.thresholds])[:, None]
    measured = (
        accuracy_covariance(called == (images.labels == 1), images.groups),
        auroc_covariance(images.labels, probabilities, images.groups),
    )
    num_groups = images.counts["num_groups"]
    return bool(min(holm([paired_difference(*one, num_groups).p_value for one in measured])) < SIGNIFICANCE)


def cell(studies: int, setting: tuple) -> dict:
    """Shares of the studies of one setting that say helped, harmed and, by the paired test, any difference."""
    print("cell", *setting, file=sys.stderr, flush=True)
    found = [simulate(seed, *setting) for seed in range(studies)]
    verdicts = Counter(direction for one in found for direction in one["verdict"])
    differences = np.array([one["difference"] for one in found])
    return {
        "helped": verdicts[1] / studies, "harmed": verdicts[-1] / studies,
        "wrong": sum(bool(one["verdict"]) for one in found) / studies,
        "paired": sum(one["paired"] for one in found) / studies,
        "known": float(np.mean(np.abs(differences) / differences.std(ddof=1) > norm.ppf(1 - 0.025 / 2))),
    }  # fmt: skip


def train_one(config: TrialConfig, folder: Path, photographs: Path, seed: int) -> dict:
    """The outcome of `real` with this seed, on one thread; `photographs` are prepared."""
    torch.set_num_threads(1)
    dataset = load_dataset(photographs, config.image_size)
    own = config.model_copy(update={"seed": seed})
    return run_trial(own, dataset, lambda entry: None, folder / "gans", folder / str(seed))


def train_real(
    pool: Executor, data: Path | None, fraction: float, trainings: int, settings: dict
) -> tuple[ImageSet, Networks]:
    """`real` trained with many seeds, each on its own draw of a part of the groups."""
    config = make_config(preset("smoke") | {"synthetic_ratio": 0.0, "training_fraction": fraction} | settings)
    with tempfile.TemporaryDirectory() as name:
        photographs = prepared(data, config.image_size, Path(name) / "prepared").path
        ended = list(pool.map(partial(train_one, config, Path(name), photographs), range(trainings)))
    test = [row for row in ended[0]["predictions"] if row["side"] == "test"]
    images = ImageSet("test", *(np.array([row[key] for row in test]) for key in ("image_id", "group", "label")))
    probabilities = [[row["probability"] for row in one["predictions"] if row["side"] == "test"] for one in ended]
    networks = Networks(
        np.array(probabilities),
        np.array([one["threshold"] for one in ended]),
        np.array([one["validation_auroc"] for one in ended]),
    )
    return images, networks


def draw_study(seed: int, images: ImageSet, networks: Networks, num_seeds: int, num_arms: int) -> frozenset[int]:
    """The verdict of a study whose arms are draws of the same trainings; those of `real` are nobody else's."""
    draws = np.random.default_rng([seed, num_seeds, num_arms])
    order = draws.permutation(len(networks.thresholds))
    real, others = order[: CHOOSING + num_seeds], order[CHOOSING + num_seeds :]
    arms = [networks[draws.choice(others, CHOOSING, replace=False)] for _ in range(num_arms)]
    judging = networks[draws.choice(others, num_seeds, replace=False)]
    return directions(judged(images, networks[real], arms, judging))


def upper(wrong: float, studies: int) -> float:
    """Upper end of the 95 % interval of a share (Clopper and Pearson)."""
    return binomtest(round(wrong * studies), studies).proportion_ci(0.95).high


def real_cell(studies: int, images: ImageSet, networks: Networks, setting: tuple[int, int]) -> dict:
    """Shares of the studies of real trainings that say helped, harmed, and either; `setting` is seeds and arms."""
    found = [draw_study(seed, images, networks, *setting) for seed in range(studies)]
    shares = {name: sum(sign in one for one in found) / studies for name, sign in (("helped", 1), ("harmed", -1))}
    return shares | {"wrong": sum(map(bool, found)) / studies}


def main(arguments: list[str] | None = None) -> None:
    defaults = {"studies": 1000, "real_studies": 150, "data": None, "fraction": 0.05, "trainings": 64, "processes": 1}
    options = benchmark_parser(__doc__, "few studies and trainings", **defaults).parse_args(arguments)
    quick = options.quick
    studies, real_studies = (20, 20) if quick else (options.studies, options.real_studies)
    seeds, groups, arms, spreads = ((3,), (24,), (6,), (2,)) if quick else (SEEDS, GROUPS, ARMS, SPREADS)
    null = [(s, g, a, d, 0) for s in seeds for g in groups for a in arms for d in spreads]
    gain = [(s, g, arms[-1], d, gain) for s in seeds for g in groups for d in spreads for gain in GAINS]
    real = [(s, a) for s in seeds for a in ARMS]
    settings = {"classifier_epochs": 1} if quick else {}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        trained = train_real(pool, options.data, options.fraction, options.trainings if not quick else 10, settings)
        found = {
            "null": dict(zip(map(str, null), pool.map(partial(cell, studies), null), strict=True)),
            "gain": dict(zip(map(str, gain), pool.map(partial(cell, max(studies // 2, 1)), gain), strict=True)),
            "real": dict(zip(map(str, real), pool.map(partial(real_cell, real_studies, *trained), real), strict=True)),
        }
    images, networks = trained
    correct = (networks.probabilities >= networks.thresholds[:, None]) == (images.labels == 1)
    accuracy = {"mean": float(correct.mean()), "sd": float(correct.mean(axis=1).std(ddof=1))}
    counts = {"studies": studies, "real_studies": real_studies, "choosing_seeds": CHOOSING}
    result = counts | found | {"real_accuracy": accuracy}
    report(table(result), result)


def table(result: dict) -> list[tuple[str, str, str]]:
    """The worst cells of the null, the power of every spread and gain, and the real trainings."""
    worst = max(result["null"], key=lambda setting: result["null"][setting]["wrong"])
    rows = [("worst null (seeds, groups, arms, spread, gain)", worst, "")]
    wrong = [one["wrong"] for one in result["null"].values()]
    bound = upper(max(wrong), result["studies"])
    rows.append(("its wrong verdicts", f"{max(wrong):.1%} (< {bound:.1%})", "<= 5 % (7 %)"))
    rows.append(("mean over all null cells", f"{np.mean(wrong):.1%}", ""))
    short = max(one["paired"] - one["helped"] for one in result["gain"].values())
    rows.append(("power below the paired test, at worst", f"{100 * short:.0f} points", "<= 10"))
    for setting, one in result["real"].items():
        rows.append((f"real trainings, seeds and arms {setting}", f"{one['wrong']:.1%}", "<= 5 %"))
    return rows


if __name__ == "__main__":
    main()
