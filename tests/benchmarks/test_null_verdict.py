"""Simulated confirmations: a true gain is found, nothing is not, and a choice by the judging seeds would be."""

import json

import numpy as np
import pytest

from benchmarks.null_verdict import CHOOSING, Networks, Wounds, aurocs, cell, judged, main
from results.page.answer import directions


def test_a_large_gain_is_found_and_is_a_gain():
    found = cell(20, (5, 60, 2, 0.5, 8))
    assert found["helped"] > 0.8 and found["harmed"] == 0


def test_aurocs_by_hand():
    assert aurocs(np.array([0, 1, 0, 1]), np.array([[1, 2, 3, 4], [1, 1, 1, 1.0]])).tolist() == [0.75, 0.5]


def test_accuracies_of_simulated_trainings_are_as_asked_for():
    wounds = Wounds(np.random.default_rng(0), 2000)
    networks = wounds.train(200, 0.85, 0.05)
    accuracies = ((networks.probabilities >= 0.5) == wounds.test[0].labels).mean(axis=1)
    assert accuracies.mean() == pytest.approx(0.85, abs=0.015)
    assert accuracies.std() == pytest.approx(0.05, abs=0.008)


def test_the_benchmark_runs_and_reports_every_setting(capsys):
    main(["--quick"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(result["null"]) == 1 and len(result["gain"]) == 3 and len(result["real"]) == 3
    assert 0 < result["real_accuracy"]["mean"] <= 1


@pytest.mark.slow
def test_at_most_five_of_a_hundred_verdicts_are_wrong():
    assert cell(1000, (3, 60, 21, 2, 0))["wrong"] <= 0.05
    lucky = sum(bool(verdict_on_the_choosing_seeds(seed)) for seed in range(300)) / 300
    assert lucky > 0.05  # what the choosing seeds themselves would say


def verdict_on_the_choosing_seeds(seed: int) -> frozenset[int]:
    wounds = Wounds(np.random.default_rng(seed), 60)
    real = wounds.train(2 * CHOOSING, 0.85, 0.05)
    arms = [wounds.train(CHOOSING, 0.85, 0.05) for _ in range(21)]
    chosen: Networks = max(arms, key=lambda arm: arm.validation.mean())
    return directions(judged(wounds.test[0], real, arms, chosen))
