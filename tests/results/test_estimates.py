"""ESTIMATES and COMPARISONS from fabricated predictions of a small confirmation."""

from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from results.stats.bootstrap import GroupBootstrap
from results.stats.comparisons import compare
from results.stats.estimates import estimate
from results.stats.evidence import write_evidence
from results.stats.metrics import binary_metrics
from results.stats.scores import Scores, collect_scores
from results.tables.schema import ATTRIBUTES, COMPARISONS, ESTIMATES, PREDICTIONS, TRIALS
from results.tables.store import TableError, read_table, write_rows

NUM_IMAGES = 80
THRESHOLD = 0.4
WITHOUT_GAN = ("real", "real_unaugmented", "real_oversampled_1")
REMEDIES = ("real", "real_balanced_oversampled", "real_balanced_class_weights", "real_balanced_focal")


def trial(arm: str = "real", seed: int = 1, **changes) -> dict:
    """A row of TRIALS, of a confirmation unless told otherwise."""
    confirms = None if arm in WITHOUT_GAN + REMEDIES else "paper-000"
    row = dict.fromkeys(TRIALS.names) | {
        "study": "fabricated", "status": "completed", "phase": "confirm", "arm": arm, "seed": seed,
        "confirms": confirms, "classifier_key": "k", "split_protocol": "grouped", "training_fraction": 1.0,
        "positive_fraction": 1.0,
        "oversampling": 1.0 if arm == "real_oversampled_1" else 0.0, "threshold": THRESHOLD,
    } | changes  # fmt: skip
    key = ["confirms", "arm", "classifier_key", "split_protocol", "training_fraction", "positive_fraction", "seed"]
    return row | {"trial_id": changes.get("trial_id", "-".join(str(row[name]) for name in key))}


def predict(trial: dict, separation: float = 1.5, **changes) -> pd.DataFrame:
    """Predictions of a trial on 80 images in 40 groups; other images under another split."""
    images = np.arange(NUM_IMAGES)
    labels = images // 2 % 2
    generator = np.random.default_rng([trial["seed"], *trial["trial_id"].encode()])
    shared = np.random.default_rng(0).normal(size=NUM_IMAGES)  # what all classifiers see
    scores = shared + 0.3 * generator.normal(size=NUM_IMAGES) + separation * (2 * labels - 1)
    split = trial["split_protocol"]
    return pd.DataFrame(
        {
            "study": "fabricated", "trial_id": trial["trial_id"], "arm": trial["arm"], "seed": trial["seed"],
            "side": "test", "corruption": "none", "strength": 0,
            "image_id": [f"{split} {image:02d}" for image in images],
            "group": [f"{split} {image // 2:02d}" for image in images],
            "label": labels, "probability": 1 / (1 + np.exp(-scores)),
        } | changes
    )  # fmt: skip


def scored(*parts: tuple[dict, pd.DataFrame]) -> list[Scores]:
    """Scores of trials and their predictions; a trial may come more than once."""
    rows = {row["trial_id"]: row for row, _ in parts}
    trials = pd.DataFrame(list(rows.values()), columns=TRIALS.names).astype({"confirms": object})
    return collect_scores(pd.concat([part for _, part in parts], ignore_index=True)[PREDICTIONS.names], trials)


def arms(*rows: dict, separation: float = 1.5):
    return scored(*((row, predict(row, separation)) for row in rows))


def no_attributes() -> pd.DataFrame:
    return pd.DataFrame(columns=ATTRIBUTES.names)


def families(rows: list[dict]) -> set[tuple]:
    return {(row["family"], row["gan"], row["arm_a"], row["arm_b"]) for row in rows}


# ---- estimates


def test_a_value_is_the_mean_over_seeds_at_each_trials_own_threshold():
    first, second = trial(seed=1), trial(seed=2, threshold=0.7)
    parts = [predict(first), predict(second)]
    expected = [binary_metrics(part["label"], part["probability"], row["threshold"])
                for row, part in zip((first, second), parts, strict=True)]  # fmt: skip
    rows = estimate(scored((first, parts[0]), (second, parts[1].sample(frac=1, random_state=0))), no_attributes())
    assert len(rows) == 10
    for row in rows:
        assert set(row) == set(ESTIMATES.names)
        values = [metrics[row["metric"]] for metrics in expected]
        assert row["value"] == pytest.approx(np.mean(values))
        assert row["sd"] == pytest.approx(np.std(values, ddof=1))
        assert (row["num_seeds"], row["num_images"], row["num_positive"], row["num_groups"]) == (2, 80, 40, 40)
        if row["metric"] == "ece":
            assert row["ci_low"] is None and row["ci_high"] is None
        else:
            assert row["ci_low"] < row["value"] < row["ci_high"]


@pytest.mark.parametrize(("groups", "is_known"), [(4, False), (5, True)])
def test_no_interval_of_both_classes_where_one_lies_in_few_groups(groups, is_known):
    row, known = trial(), np.arange(NUM_IMAGES) // 2 % 2 == 1
    few = np.where(known, np.arange(NUM_IMAGES) // 2, np.arange(NUM_IMAGES) % groups)
    rows = estimate(scored((row, predict(row, 0.5, group=[f"g{group}" for group in few]))), no_attributes())
    intervals = {row["metric"]: row["ci_low"] is not None for row in rows}
    assert intervals["accuracy"] and intervals["auroc"] == intervals["auprc"] == intervals["mcc"] == is_known


def test_corrupted_images_have_their_auroc_only():
    row = trial()
    blurred = predict(row, separation=0.5, corruption="blur", strength=2)
    rows = estimate(scored((row, predict(row)), (row, blurred)), no_attributes())
    (corrupted,) = [r for r in rows if r["corruption"] == "blur"]
    assert (corrupted["metric"], corrupted["strength"]) == ("auroc", 2)
    clean = next(r for r in rows if r["corruption"] == "none" and r["metric"] == "auroc")
    assert corrupted["value"] < clean["value"] - 0.1


def test_only_completed_confirmed_trials_count_and_one_seed_has_no_deviation():
    others = [trial(seed=2, status="failed"), trial(seed=3, phase="baseline", trial_id="baseline-000")]
    rows = estimate(arms(trial(), *others), no_attributes())
    assert {(row["num_seeds"], row["sd"]) for row in rows} == {(1, None)}


def test_without_a_confirmation_each_trial_of_the_search_stands_for_itself():
    searched = arms(
        trial(phase="baseline", trial_id="baseline-000"),
        trial("real_and_synthetic_1", phase="paper", trial_id="paper-000", confirms=None),
        trial("real_and_synthetic_1", phase="search", trial_id="search-001", confirms=None),
    )
    assert {row["gan"] for row in estimate(searched, no_attributes())} == {None, "paper-000", "search-001"}


def test_validation_is_not_estimated_nor_a_side_of_one_class():
    row = trial()
    parts = [predict(row, side=side) for side in ("validation", "test", "external")]
    parts[2] = parts[2].query("label == 1")
    assert {r["side"] for r in estimate(scored(*((row, part) for part in parts)), no_attributes())} == {"test"}


def test_subgroups_of_real_test_images_by_name_and_source():
    row, fewer = trial(), trial(training_fraction=0.5)
    part = predict(row)
    attributes = pd.DataFrame(
        [
            dict.fromkeys(ATTRIBUTES.names)
            | {"kind": kind, "source": source, "attribute": name, "image_id": image}
            for image in part["image_id"][:30]
            for kind, source, name in (
                ("real", "ITA estimate", "tan"), ("real", "file", "heel"), ("synthetic", "ITA estimate", "dark"),
            )
        ]
    )  # fmt: skip
    rows = estimate(scored((row, part), (fewer, predict(fewer))), attributes)
    subgroups = [r for r in rows if r["subgroup"] is not None]
    assert {r["subgroup"] for r in subgroups} == {"tan (ITA estimate)", "heel"}
    assert {r["training_fraction"] for r in subgroups} == {1}
    expected = binary_metrics(part["label"][:30], part["probability"][:30], THRESHOLD)
    assert {r["metric"]: r["value"] for r in subgroups} == pytest.approx(
        {name: expected[name] for name in ("auroc", "tpr", "fpr")}
    )
    assert {(r["num_images"], r["num_positive"], r["num_groups"]) for r in subgroups} == {(30, 14, 15)}


# ---- comparisons


def test_every_family_has_its_pairs_and_no_other():
    rows = compare(
        arms(
            *(trial(arm) for arm in WITHOUT_GAN),
            *(trial(arm) for arm in ("real_and_synthetic_1", "real_and_synthetic_2", "synthetic_only_1")),
            trial("real_and_synthetic_1", confirms="search-001"),
            trial("real", classifier_key="other"),
            *(trial(arm, training_fraction=0.1) for arm in ("real", "real_and_synthetic_1")),
            *(trial(arm, split_protocol="random") for arm in ("real", "real_and_synthetic_1")),
        )
    )
    assert families(rows) == {
        ("synthetic against real", "paper-000", "real_and_synthetic_1", "real"),
        ("synthetic against real", "paper-000", "real_and_synthetic_2", "real"),
        ("synthetic against real", "paper-000", "synthetic_only_1", "real"),
        ("synthetic against real", "search-001", "real_and_synthetic_1", "real"),
        ("against oversampled", "paper-000", "real_and_synthetic_1", "real_oversampled_1"),
        ("against oversampled", "search-001", "real_and_synthetic_1", "real_oversampled_1"),
        ("classical augmentation", None, "real", "real_unaugmented"),
        ("few data", "paper-000", "real_and_synthetic_1", "real"),
        ("between GANs", "paper-000 - search-001", "real_and_synthetic_1", "real_and_synthetic_1"),
        ("leakage", None, "real (random split)", "real"),
        ("leakage", "paper-000", "real_and_synthetic_1 (random split)", "real_and_synthetic_1"),
    }
    assert all(set(row) == set(COMPARISONS.names) for row in rows)
    metrics = {(row["family"], row["metric"]) for row in rows}
    assert ("between GANs", "accuracy") not in metrics and ("leakage", "accuracy") in metrics
    assert {row["training_fraction"] for row in rows if row["family"] == "few data"} == {0.1}
    assert {row["split_protocol"] for row in rows if row["family"] != "leakage"} == {"grouped"}


def test_filling_up_few_positives_is_compared_with_every_remedy_at_an_equal_share():
    filled = "real_balanced_synthetic"
    few = [trial(arm, seed, positive_fraction=share) for arm in (*REMEDIES, filled) for share in (0.1, 0.05)
           for seed in (1, 2)]  # fmt: skip
    other = [trial(filled, seed, positive_fraction=0.1, confirms="search-001") for seed in (1, 2)]
    rows = compare(arms(*few, *other, *(trial("real", seed) for seed in (1, 2))))
    assert {(row["gan"], row["arm_a"], row["arm_b"], row["positive_fraction"]) for row in rows} == {
        *(("paper-000", filled, remedy, share) for remedy in REMEDIES for share in (0.1, 0.05)),
        *(("search-001", filled, remedy, 0.1) for remedy in REMEDIES),
    }
    assert {(row["family"], row["num_seeds"], row["test"]) for row in rows} == {
        ("few positives", 2, "paired t, seeds and groups random"),
    }  # fmt: skip
    assert len(rows) == 2 * 12  # accuracy and AUROC


def test_a_pretrained_gan_of_few_data_is_compared_with_real_images_of_the_same_part():
    mixed = "real_and_synthetic_1"
    few = [trial(arm, seed, training_fraction=fraction, phase="benchmark", confirms=gan)
           for arm, gan in (("real", None), (mixed, "gan-5min"), (mixed, "gan-5min-unlabelled"))
           for fraction in (0.1, 0.5) for seed in (1, 2)]  # fmt: skip
    whole = [trial(arm, seed, phase="benchmark") for arm in ("real", mixed) for seed in (1, 2)]
    rows = [row for row in compare(arms(*few, *whole)) if row["family"] != "synthetic against real"]
    assert {(row["family"], row["gan"], row["arm_a"], row["arm_b"], row["training_fraction"]) for row in rows} == {
        ("few data", gan, mixed, "real", fraction)
        for gan in ("gan-5min", "gan-5min-unlabelled") for fraction in (0.1, 0.5)
    }  # fmt: skip
    assert {row["num_seeds"] for row in rows} == {2}


def test_filtered_images_are_compared_with_all_and_with_both_real_arms():
    mixed = "real_and_synthetic_1"
    rows = compare(arms(*(trial(arm) for arm in (*WITHOUT_GAN, mixed, f"{mixed}_kept_0.5", "synthetic_only_1"))))
    assert {key for key in families(rows) if key[2] == f"{mixed}_kept_0.5"} == {
        ("filtered against all", "paper-000", f"{mixed}_kept_0.5", mixed),
        ("synthetic against real", "paper-000", f"{mixed}_kept_0.5", "real"),
        ("against oversampled", "paper-000", f"{mixed}_kept_0.5", "real_oversampled_1"),
    }


def test_a_study_under_the_random_split_is_compared_under_it():
    both = [trial(arm, split_protocol="random") for arm in (*WITHOUT_GAN, "real_and_synthetic_1")]
    rows = compare(arms(*both, trial(), trial("real_and_synthetic_1")))
    paired = [row for row in rows if row["family"] != "leakage"]
    assert paired and {row["split_protocol"] for row in paired} == {"random"}
    assert {row["arm_a"] for row in rows if row["family"] == "leakage"} == {
        "real (random split)", "real_and_synthetic_1 (random split)",
    }  # fmt: skip


def test_a_planted_gain_is_found_and_its_interval_excludes_zero():
    separations = {"real": 0.3, "real_and_synthetic_1": 1.2}
    rows = [trial(arm, seed) for arm in separations for seed in (1, 2, 3)]
    for row in compare(scored(*((row, predict(row, separations[row["arm"]])) for row in rows))):
        assert row["difference"] == pytest.approx(row["value_a"] - row["value_b"])
        assert 0 < row["ci_low"] < row["difference"] < row["ci_high"]
        assert row["p_value"] < 0.001
        assert row["num_seeds"] == 3


def test_equal_predictions_differ_by_nothing():
    real, mixed = trial(), trial("real_and_synthetic_1")
    same = predict(real).drop(columns=["trial_id", "arm"])
    for row in compare(scored((real, predict(real)), (mixed, predict(mixed).assign(**same)))):
        assert (row["difference"], row["p_value"], row["ci_low"], row["ci_high"]) == (0, 1, None, None)


@pytest.mark.parametrize("split", ["grouped", "random"])
@pytest.mark.parametrize(("groups", "is_known"), [(4, False), (5, True)])
def test_nothing_is_concluded_from_a_class_in_few_groups(split, groups, is_known):
    """However many there are of the other: all that one wound has in common would look like a difference."""
    confirmed = [trial(split_protocol=split), trial("real_and_synthetic_1")]
    known = np.arange(NUM_IMAGES) // 2 % 2 == 1
    few = np.where(known, np.arange(NUM_IMAGES) // 2, np.arange(NUM_IMAGES) % groups)
    parts = [(row, predict(row, 0.5, group=[f"{row['split_protocol']} {group}" for group in few])) for row in confirmed]
    if split == "grouped":
        parts.append((again := trial(seed=2), predict(again, group=parts[0][1]["group"])))
    else:
        parts.append((other := trial(), predict(other, group=[f"grouped {group}" for group in few])))
    rows = compare(scored(*parts))
    assert rows and {row["family"] for row in rows} >= {"synthetic against real" if split == "grouped" else "leakage"}
    for row in rows:
        for column in ("standard_error", "p_value", "p_adjusted", "ci_low", "ci_high"):
            assert (row[column] is not None) == is_known, column
        assert row["difference"] == row["value_a"] - row["value_b"]


def test_arms_are_paired_over_the_seeds_that_both_have():
    real, mixed = [trial(seed=seed) for seed in (1, 2, 3)], [trial("synthetic_only_1", seed=seed) for seed in (3, 4, 2)]
    row = next(row for row in compare(arms(*real, *mixed)) if row["metric"] == "auroc")
    parts = map(predict, real[1:])
    expected = [binary_metrics(part["label"], part["probability"], THRESHOLD)["auroc"] for part in parts]
    assert (row["num_seeds"], row["value_b"]) == (2, pytest.approx(np.mean(expected)))
    assert compare(arms(trial(seed=1), trial("synthetic_only_1", seed=2))) == []


def test_adjusted_within_family_metric_and_side():
    mixed = [trial(f"real_and_synthetic_{ratio}") for ratio in ("0.5", "1", "2")]
    rows = compare(arms(trial(), trial("real_unaugmented"), *mixed, separation=0.5))
    p_values = {(row["family"], row["metric"]): [] for row in rows}
    for row in rows:
        p_values[row["family"], row["metric"]].append((row["p_value"], row["p_adjusted"]))
    least = min(p_values["synthetic against real", "auroc"])
    assert len(p_values["synthetic against real", "auroc"]) == 3
    assert least[1] == pytest.approx(min(3 * least[0], 1))
    ((p_value, p_adjusted),) = p_values["classical augmentation", "auroc"]
    assert p_value == p_adjusted


def test_classifiers_are_never_compared_and_change_no_p_value_of_each_other():
    mixed = ("real_and_synthetic_1", "real_and_synthetic_2", "real_balanced_synthetic")
    own = [trial(arm, seed) for arm in ("real", *mixed) for seed in (1, 2)]
    others = [row | {"classifier_key": "other", "trial_id": f"{row['trial_id']}-other"} for row in own]
    alone, both = compare(arms(*own, separation=0.5)), compare(arms(*own, *others, separation=0.5))
    assert alone and [row for row in both if row["classifier_key"] == "k"] == alone
    assert len([row for row in both if row["classifier_key"] == "other"]) == len(alone) == len(both) / 2


@pytest.mark.parametrize(("grouped", "random", "p_values"), [(0.5, 2.5, (0, 0.01)), (0.6, 1, (0.005, 0.5))])
def test_the_leakage_gap_is_unpaired_and_its_p_value_has_the_error_of_both_sides(grouped, random, p_values):
    leaky = trial(split_protocol="random")
    rows = compare(scored((trial(), predict(trial(), grouped)), (leaky, predict(leaky, random))))
    assert len(rows) == 2
    for row in rows:
        assert row["test"] == "two independent clustered bootstraps"
        assert (row["num_images"], row["num_groups"]) == (160, 80)
        assert row["ci_low"] < row["difference"] < row["ci_high"] and p_values[0] <= row["p_value"] < p_values[1]
        error = (row["ci_high"] - row["ci_low"]) / (2 * norm.ppf(0.975))
        assert row["p_value"] == pytest.approx(2 * norm.sf(row["difference"] / error), rel=0.35, abs=0.002)


# ---- what does not fit


def test_confirmed_trials_without_predictions_have_no_rows():
    searched, confirmed = trial(phase="search", trial_id="search-000"), trial()
    scores = scored((searched, predict(searched)), (confirmed, predict(confirmed, side="validation")))
    assert estimate(scores, no_attributes()) == compare(scores) == []


def test_trials_on_other_images_are_refused_by_name():
    second = trial(seed=2)
    other = predict(second)
    other["image_id"] = other["image_id"].replace("grouped 00", "another")
    with pytest.raises(TableError, match=r"real-k-grouped-1.0-1.0-[12]: .* side test"):
        estimate(scored((trial(), predict(trial())), (second, other)), no_attributes())


def test_one_arm_twice_with_one_seed_is_refused_by_name():
    with pytest.raises(TableError, match="once, twice: the same arm and seed"):
        compare(arms(trial(trial_id="once"), trial(trial_id="twice")))


def test_a_study_without_predictions_says_what_to_run(tmp_path):
    with pytest.raises(TableError, match=r"python study/confirm\.py"):
        write_evidence(tmp_path)


@pytest.mark.parametrize("phase", ["confirm", "search"])
def test_evidence_is_written_and_read_back(tmp_path, phase):
    """A search is estimated; only a confirmation is compared. Each arm is scored once for both tables."""
    rows = [trial(phase=phase), trial("real_and_synthetic_1", phase=phase)]
    for row in rows:
        write_rows(tmp_path / "trials" / f"{row['trial_id']}.parquet", [row], TRIALS)
        part = predict(row)[PREDICTIONS.names].to_dict("records")
        write_rows(tmp_path / "predictions" / f"{row['trial_id']}.parquet", part, PREDICTIONS)
    with patch.object(GroupBootstrap, "measure", autospec=True, side_effect=GroupBootstrap.measure) as measure:
        write_evidence(tmp_path)
    assert measure.call_count == 2
    estimates, comparisons = read_table(tmp_path, "estimates"), read_table(tmp_path, "comparisons")
    assert len(estimates) == 20
    assert set(comparisons["metric"]) == ({"accuracy", "auroc"} if phase == "confirm" else set())
