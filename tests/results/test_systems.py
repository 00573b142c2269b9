"""The benchmark's section: answers in words, and curves of runs that were measured at different times."""

import numpy as np
import pandas as pd
import pytest

from results.page.figure import look
from results.page.systems import (
    distance_by_seconds,
    gain,
    of_the_distance,
    of_the_lstm,
    on_one_grid,
    spread,
    systems_table,
)
from results.stats.evidence import read_evidence, select
from tests.support.report_study import make_study


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return read_evidence(make_study(tmp_path_factory.mktemp("systems") / "demo"))


def gans_of(evidence) -> pd.DataFrame:
    return select(evidence.completed, phase="benchmark").drop_duplicates("gan_key")


def test_the_best_system_comes_first_with_its_gain(evidence):
    frame = systems_table(evidence, gans_of(evidence)).frame
    assert list(frame["system"]) == ["principal_gan-5min", "r3gan-5min", "wgan_gp-5min", "wgan_gp_lstm-5min"]
    assert frame["frechet_distance"].iloc[0] == "92.0 ± 1.0" and frame["auroc"].iloc[0] == "+0.010\n(-0.010 to +0.030)"


def test_the_lstm_s_effect_has_an_interval(evidence):
    answer = of_the_lstm(gans_of(evidence))
    assert "Frechet distance of the WGAN-GP by +10.0 (95 % interval +7.7 to +12.3" in answer
    assert of_the_lstm(gans_of(evidence).query("system != 'wgan_gp'")) is None


def test_a_lower_distance_with_a_better_classifier_is_a_negative_correlation(evidence):
    trials = select(evidence.completed, phase="benchmark")
    assert "-0.97 (-" in of_the_distance(trials)
    assert of_the_distance(trials[trials["system"] == "r3gan"]) is None


def test_runs_are_compared_where_all_were_measured():
    fast = pd.DataFrame({"seconds": [1.0, 10.0], "frechet_distance": [100.0, 10.0]})
    slow = pd.DataFrame({"seconds": [2.0, 20.0], "frechet_distance": [200.0, 20.0]})
    grid, curves = on_one_grid([fast, slow])
    assert grid[0] == pytest.approx(2) and grid[-1] == pytest.approx(10) and curves.shape == (2, len(grid))
    assert curves[0, -1] == pytest.approx(10) and curves[1, -1] == pytest.approx(120)
    once = pd.DataFrame({"seconds": [0.7], "frechet_distance": [150.0]})
    assert np.array_equal(on_one_grid([once, once])[1], [[150.0], [150.0]])


def test_missing_figures_are_dashes():
    assert spread(pd.Series([np.nan])) == "-" == gain(pd.DataFrame())
    assert spread(pd.Series([3.0])) == "3.0"


def test_the_seconds_are_numbers_and_no_formulas(evidence):
    svg = distance_by_seconds(evidence, gans_of(evidence)).svg
    assert "mathdefault" not in svg and ">100<" in svg.replace("\n", "").replace(" ", "")


def test_more_lines_than_colours_still_look_different():
    looks = [tuple(map(str, look(number).values())) for number in range(18)]
    assert len(set(looks)) == 18
