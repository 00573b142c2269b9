"""The benchmarks of search, scale and sweep run to their end and print what they promise, whatever the figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search_quality
from benchmarks.harness.landscape import WORTH, Landscape
from benchmarks.search_quality import WAYS, FixedEpoch, random_search, simulate
from study.config import make_config, preset

ROOT = Path(__file__).resolve().parents[2]


def run(name: str) -> dict:
    """The JSON of the last line."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, f"benchmarks/{name}.py", "--quick"]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_search_quality(capsys):
    search_quality.main(["--quick"])
    *lines, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert result["studies"] == 1 and 0 <= result["diagnosis, 25% of the work"] <= 1
    assert all(f"diagnosis, {way}" in result for way in WAYS)
    assert max(map(len, lines[1:])) <= 80 and sum(">= 80 %" in line for line in lines) == 2


@pytest.mark.slow
def test_scale():
    result = run("scale")
    assert result["trials"] == 12 == sum(result["ends"].values())
    assert result["seconds_per_trial"] > 0 and result["memory_end"] > 2**20


@pytest.mark.slow
def test_sweep_writes_equal_metrics_with_and_without_ray():
    result = run("sweep")
    assert result["share"]["ratio"] > 0 and result["startup"] > 0


# ---- the simulation itself

SEARCH = make_config(preset("search"))


def test_a_study_is_the_same_twice():
    assert simulate(7, "diagnosis", trials=8) == simulate(7, "diagnosis", trials=8)


def test_curves_fall_by_the_recorded_slope_and_belong_to_the_gan():
    land = Landscape(3, SEARCH, WORTH["diagnosis"])
    curves = [land.curve(SEARCH.model_copy(update={"generator_lr": SEARCH.generator_lr * lr, "lstm_depth": depth}))
              for lr in (0.5, 1.0, 2.0) for depth in range(5)]  # fmt: skip
    fall = np.mean([np.log(curve[10] / curve[150]) for curve in curves])
    assert abs(fall - 0.161 * np.log(15)) < 0.15
    assert land.curve(SEARCH) == land.curve(SEARCH.model_copy(update={"dropout": 0.4, "synthetic_ratio": 0.25}))


def test_parts_of_a_score_have_their_shares():
    draws = np.random.default_rng(0)
    land = Landscape(5, SEARCH, WORTH["distance"])
    worth, work = random_search(land, "frechet")
    assert work > 40 * 150 and np.isfinite(worth)
    config = SEARCH.model_copy(update={"dropout": float(draws.uniform(0, 0.5)), "synthetic_ratio": 2.0})
    assert land.quality(config) == land.quality(SEARCH), "only the GAN counts in the search for a distance"


def test_a_repeat_of_a_classifier_has_another_luck_on_the_same_gan():
    land = Landscape(5, SEARCH, WORTH["diagnosis"])
    scores = [land.measured(SEARCH.model_copy(update={"classifier_seed": number})) for number in range(40)]
    assert len({score["frechet_distance"] for score in scores}) == 1
    assert np.std([score["validation_auroc"] for score in scores]) == pytest.approx(np.sqrt(0.3), rel=0.3)


def test_the_rule_that_is_compared_with_judges_once():
    rule = FixedEpoch(150, 10)
    assert rule.milestones() == [40]
    assert [rule.is_worse(name, 40, distance) for name, distance in zip("abc", (9.0, 8.0, 10.0), strict=True)] == [
        False, False, True,
    ]  # fmt: skip
