"""The benchmark's section: answers in words, and curves of runs that were measured at different times."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from results.page.few import few_data_table, few_positives_table
from results.page.figure import look
from results.page.parts import Table, gain, spread
from results.page.systems import (
    distance_by_seconds,
    of_the_distance,
    of_the_lstm,
    on_one_grid,
    system_parts,
    systems_table,
)
from results.page.tables import comparisons_table
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


def test_few_positives_are_shown_with_the_gain_over_the_remedy_that_validation_chose(evidence):
    assert few_positives_table(evidence) == []
    arms = {"real": 0.80, "real_balanced_focal": 0.85, "real_balanced_synthetic": 0.99}  # AUROC on validation
    like, rows = select(evidence.completed, phase="benchmark").iloc[0].to_dict(), []
    for (arm, auroc), seed in [(arm, seed) for arm in arms.items() for seed in (1, 2)]:
        rows.append(like | {
            "trial_id": f"{arm}-{seed}", "arm": arm, "seed": seed, "positive_fraction": 0.1, "gan_key": "few",
            "confirms": "r3gan-5min" if arm.endswith("synthetic") else None, "validation_auroc": auroc,
            "test_auroc": auroc - 0.1 * seed, "test_tpr": 0.5, "test_fpr": 0.1 * seed,
        })  # fmt: skip
    pair = evidence.comparisons.iloc[0].to_dict() | {
        "phase": "benchmark", "family": "few positives", "side": "test", "metric": "auroc", "gan": "r3gan-5min",
        "arm_a": "real_balanced_synthetic", "positive_fraction": 0.1, "ci_low": -0.1, "ci_high": 0.3,
    }  # fmt: skip
    pairs = [pair | {"arm_b": "real", "difference": 0.2}, pair | {"arm_b": "real_balanced_focal", "difference": 0.1}]
    trials = pd.concat([evidence.trials, pd.DataFrame(rows)], ignore_index=True)
    both = replace(evidence, trials=trials, comparisons=pd.DataFrame(pairs))
    (table,) = few_positives_table(both)
    assert ("classifier", "classifier", "s") not in table.columns
    assert table.frame[["arm", "system", "sensitivity", "specificity", "test_auroc", "auroc"]].values.tolist() == [
        ["real", "-", "0.500 ± 0.000", "0.850 ± 0.071", "0.650 ± 0.071", "-"],
        ["real, focal loss *", "-", "0.500 ± 0.000", "0.850 ± 0.071", "0.700 ± 0.071", "-"],
        ["real, rarer class filled with synthetic", "r3gan-5min", "0.500 ± 0.000", "0.850 ± 0.071", "0.840 ± 0.071",
         "+0.100\n(-0.100 to +0.300)"],
    ]  # fmt: skip
    names = [part.name for part in system_parts(both) if isinstance(part, Table)]
    assert names == ["systems", "few_positives", "published_benchmark"]
    assert set(next(part.frame["seeds"] for part in system_parts(both) if isinstance(part, Table))) == {3}  # the whole
    others = pd.DataFrame(rows).assign(classifier_key="c2", classifier="efficientnet_lite0", validation_auroc=0.5)
    others.loc[others["arm"] == "real", "validation_auroc"] = 0.6
    pairs += [pair | {"classifier_key": "c2", "arm_b": "real", "difference": 0.4}]
    trials = pd.concat([trials, others.assign(trial_id="c2-" + others["trial_id"])], ignore_index=True)
    (table,) = few_positives_table(replace(both, trials=trials, comparisons=pd.DataFrame(pairs)))
    assert ("classifier", "classifier", "s") in table.columns
    assert table.frame[["classifier", "arm", "auroc"]].values.tolist() == [
        ["c1", "real", "-"], ["c1", "real, focal loss *", "-"],
        ["c1", "real, rarer class filled with synthetic", "+0.100\n(-0.100 to +0.300)"],
        ["efficientnet_lite0", "real *", "-"], ["efficientnet_lite0", "real, focal loss", "-"],
        ["efficientnet_lite0", "real, rarer class filled with synthetic", "+0.400\n(-0.100 to +0.300)"],
    ]  # fmt: skip


def test_few_data_is_shown_with_the_gain_over_real_images_alone_of_the_same_part(evidence):
    assert few_data_table(evidence) == []
    arms = {"real": None, "real_oversampled_1": None, "real_and_synthetic_1": "gan-5min"}
    like, rows = select(evidence.completed, phase="benchmark").iloc[0].to_dict(), []
    like |= {"test_auroc": 0.8, "test_tpr": 0.5, "test_fpr": 0.1}
    for fraction, pretrained, seed in [(f, p, s) for f in (0.1, 0.5) for p in ("", "-unlabelled") for s in (1, 2)]:
        for arm, gan in arms.items():
            if gan or not pretrained:
                name = {"trial_id": f"{arm}{pretrained}-{fraction}-{seed}", "confirms": gan and gan + pretrained}
                rows.append(like | name | {"arm": arm, "seed": seed, "training_fraction": fraction, "gan_key": "few"})
    pairs = [
        evidence.comparisons.iloc[0].to_dict() | {
            "phase": "benchmark", "family": family, "side": "test", "metric": "auroc", "gan": f"gan-5min{pretrained}",
            "arm_a": "real_and_synthetic_1", "arm_b": arm_b, "training_fraction": fraction, "positive_fraction": 1.0,
            "ci_low": -0.1, "ci_high": 0.3, "difference": fraction / 10 + (0.2 if pretrained else 0.1),
        }
        for family, arm_b in (("few data against oversampled", "real_oversampled_1"), ("few data", "real"))
        for fraction in (0.1, 0.5) for pretrained in ("", "-unlabelled")
    ]  # fmt: skip
    trials = pd.concat([evidence.trials, pd.DataFrame(rows)], ignore_index=True)
    both = replace(evidence, trials=trials, comparisons=pd.concat([evidence.comparisons, pd.DataFrame(pairs)]))
    (table,) = few_data_table(both)
    expected = []
    for fraction, gains in ((0.1, ("+0.110", "+0.210")), (0.5, ("+0.150", "+0.250"))):
        expected += [[fraction, "real *", "-", 2, "-"], [fraction, "real repeated, ratio 1", "-", 2, "-"]]
        expected += [
            [fraction, "real + synthetic, ratio 1", name, 2, f"{value}\n(-0.100 to +0.300)"]
            for name, value in zip(("gan-5min", "gan-5min-unlabelled"), gains, strict=True)
        ]
    assert table.frame[["share", "arm", "system", "seeds", "auroc"]].values.tolist() == expected
    parts = system_parts(both)
    assert [part.name for part in parts if isinstance(part, Table)] == ["systems", "few_groups", "published_benchmark"]
    assert "gan-5min" not in set(parts[1].frame["system"]) and set(parts[1].frame["seeds"]) == {3}  # the whole


def test_several_classifiers_have_rows_of_their_own(evidence):
    benchmark = evidence.trials[evidence.trials["phase"] == "benchmark"]
    # Their ids come first, and they found their GANs trained.
    reused = {"classifier_key": "c2", "classifier": "efficientnet_lite0", "gan_reused": True, "peak_memory_bytes": 1}
    others = benchmark.assign(trial_id="a-" + benchmark["trial_id"], **reused)
    pairs = evidence.comparisons[evidence.comparisons["phase"] == "benchmark"].assign(classifier_key="c2")
    both = replace(
        evidence,
        trials=pd.concat([others, evidence.trials], ignore_index=True).fillna({"classifier": "small"}),
        comparisons=pd.concat([pairs.assign(difference=0.002), evidence.comparisons], ignore_index=True),
    )
    _, table, note, _ = system_parts(both)
    alone = systems_table(evidence, gans_of(evidence)).frame
    assert ("classifier", "classifier", "s") in table.columns
    assert list(table.frame["classifier"]) == ["small", "efficientnet_lite0"] * 4  # the study's own first
    own = select(table.frame, classifier="small").reset_index(drop=True)
    assert own.equals(alone.assign(classifier="small"))
    others = select(table.frame, classifier="efficientnet_lite0")
    assert [text.split("\n")[0] for text in others["auroc"]] == ["+0.002"] * 4
    assert list(others["memory"]) == list(alone["memory"]) and set(table.frame["seeds"]) == {3}
    assert all(f"test AUROC of {name} over 12 GANs" in note.text for name in ("small", "efficientnet_lite0"))
    (listed,) = comparisons_table(both)
    assert ("classifier", "classifier", "s") in listed.columns
    assert ("classifier", "classifier", "s") not in comparisons_table(evidence)[0].columns


def test_the_lstm_s_effect_has_an_interval(evidence):
    answer = of_the_lstm(gans_of(evidence))
    assert "Frechet distance of the WGAN-GP by +10.0 (95 % interval +7.7 to +12.3" in answer
    assert of_the_lstm(gans_of(evidence).query("system != 'wgan_gp'")) is None


def test_a_lower_distance_with_a_better_classifier_is_a_negative_correlation(evidence):
    trials = select(evidence.completed, phase="benchmark")
    assert "test AUROC over 12 GANs" in (answer := of_the_distance(trials)) and "-0.97 (-" in answer
    assert of_the_distance(trials[trials["system"] == "r3gan"]) is None
    assert of_the_distance(trials.assign(test_auroc=1.0)) is None, "equals have no ranks"


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
    assert gain(pd.DataFrame({"difference": [0.01], "ci_low": np.nan, "ci_high": np.nan})) == "+0.010"
    assert spread(pd.Series([3.0])) == "3.0"


def test_the_seconds_are_numbers_and_no_formulas(evidence):
    svg = distance_by_seconds(evidence, gans_of(evidence)).svg
    assert "mathdefault" not in svg and ">100<" in svg.replace("\n", "").replace(" ", "")


def test_without_its_history_a_study_has_distances_and_no_lines(evidence):
    drawn = distance_by_seconds(replace(evidence, history=evidence.history.iloc[:0]), gans_of(evidence))
    assert "r3gan-5min 122.0" in drawn.description and "real to real images" in drawn.svg


def test_more_lines_than_colours_still_look_different():
    looks = [tuple(map(str, look(number).values())) for number in range(18)]
    assert len(set(looks)) == 18
