import base64
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from results.leaderboard import saved_minutes
from results.page.answer import NO_MORE_THAN_LONGER, UNKNOWN, answer, direction, limits
from results.page.diagnosis import robustness, roc
from results.page.generator import audit_finding, image_quality
from results.page.parts import Section
from results.page.run import budget_table
from results.page.search import importances, load_search, search_figures
from results.page.sections import image_parts, render
from results.page.tables import generator_tables, share_table
from results.report import main, write_report
from results.stats.evidence import Evidence, read_evidence, select
from results.tables.attempts import lost_reason
from results.tables.schema import COLLAPSED, COMPARISONS, COPIES, REPEATED
from results.tables.store import TableError
from tests.support.report_study import SEEDS, comparisons, make_study, write_search, write_table

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BROWSER_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip
HOSTILE = "<script>alert(1)</script>$x_{"
SECTIONS = ("answer", "effect", "leaderboard", "systems", "images", "training", "diagnosis", "search", "run")
FIGURES = (
    "differences", "systems_frechet", "training_frechet", "training_wasserstein", "training_classifier", "roc",
    "reliability", "few_data", "robustness", "leakage", "pareto", "timeline", "importance", "parallel",
    "slices", "neighbours_paper-000-1",
)  # fmt: skip
TABLES = (
    "answer", "answer_facts",
    "leaderboard", "confirmed_test", "metrics_test", "comparisons", "generator_audit", "generator_metrics",
    "systems", "published_benchmark",
    "reliability", "confidence_bands", "subgroups", "subgroups_all_arms", "subgroup_shares", "budget", "run",
    "not_completed",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of a full study whose class names are hostile."""
    study = make_study(tmp_path_factory.mktemp("full") / "demo", positive_class=HOSTILE)
    return write_report(study)[0]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """A study after its search: only trials and history."""
    return keep_search(make_study(tmp_path_factory.mktemp("searched") / "demo"))


def keep_search(study: Path) -> Path:
    for table in ("predictions", "estimates", "comparisons", "generator_metrics", "neighbours", "attributes", "gans"):
        shutil.rmtree(study / table)
    for phase in ("confirm", "judge"):
        (study / "trials" / f"{phase}.parquet").unlink()
    (study / "optuna.db").unlink()
    return study


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Evidence:
    """A full study's tables, to be changed by `with_comparisons` or `replace`."""
    return read_evidence(make_study(tmp_path_factory.mktemp("evidence") / "demo"))


def with_comparisons(evidence: Evidence, *numbers: float) -> Evidence:
    rows = [dict.fromkeys(COMPARISONS.names) | row for row in comparisons(*numbers)]
    return replace(evidence, comparisons=pa.Table.from_pylist(rows, schema=COMPARISONS).to_pandas())


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def attributes(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


# ---- the page


def test_commands_in_the_answer_are_code(searched, tmp_path):
    page = write_report(searched, tmp_path)[0].read_text(encoding="utf-8")
    assert '<p class="size">Each trial has one seed so far; <code>python study/confirm.py STUDY</code> repeats' in page


def test_every_section_figure_and_table_is_there(report):
    page = Page(report)
    assert [section["id"] for section in page.attributes("section")] == list(SECTIONS)
    assert {f"{name}-title" for name in FIGURES} <= {title.get("id") for title in page.attributes("title")}
    for name in FIGURES:
        assert {path.suffix for path in (report.parent / "figures").glob(f"{name}.*")} == {".png", ".svg"}
    assert {path.stem for path in (report.parent / "tables").glob("*.csv")} == set(TABLES)
    assert page.text.count("fills this") == 1  # the search's GANs, which were not audited


def test_the_page_asks_for_nothing_and_runs_nothing(report):
    page = Page(report)
    assert not page.attributes("script") and not page.attributes("link") and not page.attributes("iframe")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.attributes("img"))
    assert all(anchor["href"].startswith("#") for anchor in page.attributes("a"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {anchor["href"][1:] for anchor in page.attributes("a")} <= set(ids)


def test_names_from_data_are_escaped(report):
    assert HOSTILE not in report.read_text(encoding="utf-8")
    assert HOSTILE in Page(report).text
    assert HOSTILE in Page(report).attributes("img")[0]["alt"]


def test_every_figure_says_in_numbers_what_it_shows(report):
    page = Page(report)
    assert all(image["alt"] for image in page.attributes("img"))
    drawings = page.attributes("svg")
    assert len(drawings) >= len(FIGURES) and all(svg["role"] == "img" for svg in drawings)
    described = re.findall(r"<desc id=[^>]*>([^<]*)</desc>", report.read_text(encoding="utf-8"))
    assert len(described) == len(drawings) and all(re.search(r"\d", text) for text in described)


def test_figures_take_the_text_colour_of_the_page(report):
    page = report.read_text(encoding="utf-8")
    assert "currentColor" in page and "#010203" not in page
    assert "currentColor" not in (report.parent / "figures" / "roc.svg").read_text(encoding="utf-8")


def test_a_missing_value_is_a_dash(report):
    leaderboard = pd.read_csv(report.parent / "tables" / "leaderboard.csv", keep_default_na=False)
    assert (leaderboard["inception_score"] == "").any()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", report.read_text(encoding="utf-8"))
    assert "-" in cells and not {"", "nan", "None", "NaT", "<NA>"} & set(cells) - {""}


def test_no_real_image_without_being_asked(evidence, report, tmp_path):
    """The training images are plain red: of two GANs each has a row of them on the page that was asked for them."""
    asked = tmp_path / "asked.html"
    images = Section("images", "", "", image_parts(evidence, show_real=True))
    asked.write_text(render(evidence, answer(evidence), [images]), encoding="utf-8")
    assert "photographs of the training set" in Page(asked).text
    assert "photographs of the training set" not in Page(report).text and "--show-real" in Page(report).text
    assert len(pictures_with_red(asked)) == 2 and not pictures_with_red(report)


def pictures_with_red(page: Path) -> list[str]:
    """The alternative texts of images that are plain red over a fifth."""
    found = []
    for image in Page(page).attributes("img"):
        with Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1]))) as picture:
            red = (np.asarray(picture) == (255, 0, 0)).all(axis=-1)
        found += [image["alt"]] * int(red.mean() > 0.2)
    return found


def test_the_search_is_read_from_a_folder_of_any_name(tmp_path):
    study = tmp_path / "50%20 of #2?"
    study.mkdir()
    write_search(study, [])
    assert load_search(study).study_name == study.name


def test_a_distance_hangs_on_no_parameter_of_the_classifier(tmp_path):
    found = importances(load_search(make_study(tmp_path / "demo")), ["backbone", "dropout", "lstm_depth"])
    assert found.loc["dropout", "Frechet distance"] == 0 < found.loc["dropout", "validation AUROC"]
    assert found.sum().to_list() == pytest.approx([1, 1])


def test_trials_that_use_the_gan_of_a_system_have_no_part_in_the_searchs_own_settings(tmp_path):
    """Their rows name a backbone and a depth that the system does not use."""
    evidence = read_evidence(make_study(tmp_path / "demo"))
    study = load_search(evidence.study)
    rows = evidence.searched[evidence.searched["phase"] == "search"]
    space = {"system": optuna.distributions.CategoricalDistribution(("principal_gan",))}
    study.add_trial(
        optuna.trial.create_trial(params={"system": "principal_gan"}, distributions=space, values=[80.0, 0.99])
    )
    number = study.get_trials()[-1].number
    system = rows.iloc[[0]].assign(trial_id=f"search-{number:03d}", status="completed", validation_auroc=0.99)
    drawn = search_figures(replace(evidence, trials=pd.concat([evidence.trials, system])))
    (parallel,) = [part for part in drawn if getattr(part, "name", "") == "parallel"]
    assert "0.990" not in parallel.description and "system" not in parallel.description


@pytest.mark.parametrize(("groups", "is_drawn"), [(4, False), (5, True)])
def test_no_band_of_the_roc_where_a_class_lies_in_few_groups(evidence, monkeypatch, groups, is_drawn):
    monkeypatch.setattr("results.page.diagnosis.REPLICATES", 2)
    rows = evidence.predictions
    few = (rows["image_id"].str[1:].astype(int) // 2 % groups).astype(str)
    drawn = roc(replace(evidence, predictions=rows.assign(group=rows["group"].mask(rows["label"] == 1, few))))
    assert bool(drawn.figure.axes[0].collections) == is_drawn and "real 0." in drawn.description


def test_an_arm_that_is_not_estimated_yet_has_no_curve_of_robustness(evidence):
    others = evidence.estimates[evidence.estimates["arm"] != "synthetic_only_1"]
    said = robustness(replace(evidence, estimates=others)).description
    assert "real + synthetic, ratio 1 0." in said and "synthetic only" not in said


def test_images_of_a_gan_without_a_trial_are_called_so_and_are_not_real(evidence):
    (table,) = share_table(replace(evidence, attributes=evidence.attributes.replace("paper-000-1", "no trial's")))
    counts = table.frame.groupby("images")["count"].sum()
    assert counts.to_dict() == {"real, training": 30, "synthetic, a GAN without a trial": 30}
    without = replace(evidence, trials=evidence.trials[evidence.trials["gan_key"].isna()])
    assert "synthetic, a GAN without a trial" in set(share_table(without)[0].frame["images"])


def test_show_real_names_the_prepared_file_that_is_not_there(evidence):
    other = replace(evidence, trials=evidence.trials.assign(data_fingerprint="other"))
    with pytest.raises(TableError, match=r"prepared/other\.parquet.*--show-real"):
        image_parts(other, show_real=True)


def test_a_study_after_its_search_gets_a_report_that_names_what_is_missing(searched, tmp_path):
    path, found = write_report(searched, tmp_path)
    page = Page(path)
    assert [section["id"] for section in page.attributes("section")] == list(SECTIONS)
    assert found.lines[0] == "Not answered yet" and "confirm.py" in found.lines[1] and found.differences is None
    assert "one seed" in dict(found.facts)["best of the search"] and "audit.py" in dict(found.facts)["audit"]
    assert "best of a search" in page.text
    assert page.text.count("python study/confirm.py STUDY") > 4 and "python study/audit.py STUDY" in page.text
    assert "No search named demo in optuna.db" in page.text


def test_a_study_of_failed_trials_gets_a_report(tmp_path):
    failed = {"trial_id": "t0", "phase": "baseline", "status": "failed", "reason": "no luck"}
    write_table(tmp_path / "demo", "trials", [failed | {"split_protocol": "grouped", "training_fraction": 1.0}])
    path, found = write_report(tmp_path / "demo")
    assert found.lines[0] == "Not answered yet" and "no luck" in Page(path).text


# ---- the answer


COMPARED = (
    "Compared: real + synthetic, ratio 1 (GAN paper-000) with real images alone, on 120 test images in 50 groups, with "
    "3 seeds that took no part in the choice."
)


@pytest.mark.parametrize(
    ("difference", "p_adjusted", "verdict", "size"),
    [
        (0.04, 0.002, "Synthetic images helped", "Accuracy +4.0 points (95 % interval +2.0 to +6.0), AUROC +0.040 "
         "(95 % interval +0.020 to +0.060)."),
        (-0.04, 0.002, "Synthetic images harmed", "Accuracy -4.0 points (95 % interval -6.0 to -2.0), AUROC -0.040 "
         "(95 % interval -0.060 to -0.020)."),
        (0.01, 0.06, "No measurable gain", "Accuracy +1.0 points (95 % interval -1.0 to +3.0), AUROC +0.010 "
         "(95 % interval -0.010 to +0.030)."),
    ],
    ids=["helped", "harmed", "p above 0.05"],
)  # fmt: skip
def test_the_verdict_follows_the_judging_seeds(evidence, difference, p_adjusted, verdict, size):
    found = answer(with_comparisons(evidence, difference, p_adjusted))
    assert found.lines == [verdict, size, COMPARED]
    assert found.differences.frame["outcome"].tolist() == 2 * ["accuracy", "AUROC"]
    assert set(found.differences.frame["p"]) == {f"{p_adjusted:.3f}"}
    assert dict(found.facts)["choice of the arm"] == "best of 4 on validation, with 3 seeds of its own"
    # 0.01 * (t(0.9875, 10) + t(0.8, 10)) = 0.01 * (2.634 + 0.879)
    power = "a gain of 3.5 points of accuracy or 0.035 of AUROC would have been seen in four of five tries"
    assert dict(found.facts)["power"] == power


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [((0.04, 0.002), "Synthetic images helped"), ((0.01, 0.06), NO_MORE_THAN_LONGER), ((-0.04,), NO_MORE_THAN_LONGER)],
    ids=["better than repeated", "not shown", "repeated are better"],
)
def test_a_gain_over_real_images_is_held_against_repeated_real_images(evidence, numbers, verdict):
    against_real, oversampled = (with_comparisons(evidence, *own).comparisons for own in ((0.04, 0.002), numbers))
    of_both = [select(against_real, family="synthetic against real"), select(oversampled, family="against oversampled")]
    assert answer(replace(evidence, comparisons=pd.concat(of_both))).lines[0] == verdict


def only(rows: pd.DataFrame, family: str, metric: str) -> pd.DataFrame:
    """Without the difference in the other outcome."""
    other = rows["family"].eq(family) & rows["metric"].ne(metric)
    return rows.assign(difference=rows["difference"].mask(other, 0.0), p_adjusted=rows["p_adjusted"].mask(other, 1.0))


def test_helped_needs_one_outcome_that_both_comparisons_show(evidence):
    rows = with_comparisons(evidence, 0.04).comparisons
    not_compared = rows[rows["family"] != "against oversampled"]
    crossed = only(only(rows, "synthetic against real", "accuracy"), "against oversampled", "auroc")
    both = only(only(rows, "synthetic against real", "accuracy"), "against oversampled", "accuracy")
    said = [answer(replace(evidence, comparisons=some)).lines[0] for some in (not_compared, crossed, both)]
    assert said == [NO_MORE_THAN_LONGER, NO_MORE_THAN_LONGER, "Synthetic images helped"]


def test_no_verdict_while_a_lost_judging_trial_is_to_run_again(evidence):
    last = evidence.trials["trial_id"].eq("judge-real_and_synthetic_1-1002")
    reasons = [lost_reason("node died", None)]
    for _ in range(2):
        reasons.append(lost_reason("node died", reasons[-1]))
    said = []
    for reason in reasons:
        trials = evidence.trials.assign(status=evidence.trials["status"].mask(last, "failed"))
        trials["reason"] = trials["reason"].astype(object).mask(last, reason)
        said.append(answer(replace(with_comparisons(evidence, 0.04), trials=trials)).lines)
    assert [lines[0] for lines in said] == ["Not answered yet", "Not answered yet", "Synthetic images helped"]
    assert "8 of 9 judging trials have ended" in said[0][1]


def test_arms_that_came_after_the_judgement_had_no_part_in_the_choice(evidence):
    arms = select(evidence.trials, phase="confirm")
    later = arms.assign(
        trial_id="later-" + arms["trial_id"], confirms=arms["confirms"].mask(arms["confirms"].notna(), "search-009"),
        validation_auroc=1.0, started_at="2027-01-01T10:00:00+00:00",
    )  # fmt: skip
    found = answer(replace(with_comparisons(evidence, 0.04), trials=pd.concat([evidence.trials, later])))
    assert dict(found.facts)["choice of the arm"] == "best of 4 on validation, with 3 seeds of its own"


def test_no_verdict_from_too_few_groups(evidence):
    unknown = dict.fromkeys(("standard_error", "degrees_of_freedom", "p_value", "p_adjusted", "ci_low", "ci_high"))
    rows = with_comparisons(evidence, 0.04).comparisons.assign(**unknown).astype(dict.fromkeys(unknown, float))
    found = answer(replace(evidence, comparisons=rows))
    assert found.lines[0] == UNKNOWN and "nan" not in str(found)
    assert dict(found.facts)["power"].startswith("not known")


def test_outcomes_without_an_error_have_no_power(evidence):
    """As on a task so easy that every training is right about every image."""
    rows = with_comparisons(evidence, 0.01, 0.06).comparisons
    alike = rows["metric"] == "auroc"
    rows.loc[alike, ["standard_error", "difference"]] = 0.0
    rows.loc[alike, ["degrees_of_freedom", "ci_low", "ci_high"]] = np.nan
    power = dict(answer(replace(evidence, comparisons=rows)).facts)["power"]
    assert power == "a gain of 3.5 points of accuracy would have been seen in four of five tries"


def test_no_answer_before_the_last_judging_seed_and_failed_ones_are_counted(evidence):
    last = evidence.trials["trial_id"].eq("judge-real_and_synthetic_1-1002")
    found = answer(replace(evidence, trials=evidence.trials[~last]))
    assert found.lines[0] == "Not answered yet" and "8 of 9 judging trials have ended" in found.lines[1]
    all_failed = evidence.trials.copy()
    all_failed.loc[all_failed["phase"] == "judge", "status"] = "failed"
    none = evidence.comparisons[evidence.comparisons["phase"] != "judge"]
    found = answer(replace(evidence, trials=all_failed, comparisons=none))
    assert found.lines == ["Not answered yet", "9 of 9 judging trials failed: too few seeds."]
    found = answer(replace(evidence, comparisons=none))
    assert "All judging trials have ended and are not compared yet" in found.lines[1]
    trials = evidence.trials.assign(status=evidence.trials["status"].where(~last, "failed"))
    rows = with_comparisons(evidence, 0.04).comparisons.assign(num_seeds=2)
    basis = answer(replace(evidence, trials=trials, comparisons=rows)).lines[2]
    assert "with 2 seeds (of 3; the others failed or were lost) that took" in basis


@pytest.mark.parametrize(("high", "said"), [(0.079, "No measurable gain"), (0.081, "Not decided")])
def test_no_gain_is_said_where_the_papers_is_excluded(evidence, high, said):
    rows = evidence.comparisons.assign(difference=0.01, ci_low=-0.05, ci_high=high, p_adjusted=0.5)
    assert answer(replace(evidence, comparisons=rows)).lines[0].startswith(said)


def test_outcomes_that_disagree_are_called_so(evidence):
    rows = evidence.comparisons.copy()
    rows.loc[rows["metric"] == "auroc", ["difference", "ci_low", "ci_high"]] *= -1
    lines = answer(replace(evidence, comparisons=rows)).lines
    assert lines[0] == "Synthetic images helped in one outcome and harmed in the other"
    assert lines[1].startswith("Accuracy +4.0")


def test_a_choice_without_a_judgement_is_no_answer(evidence):
    unjudged = evidence.comparisons[evidence.comparisons["phase"] != "judge"]
    trials = evidence.trials[evidence.trials["phase"] != "judge"]
    found = answer(replace(evidence, comparisons=unjudged, trials=trials))
    assert found.lines[0] == "Not answered yet" and "chosen but not judged" in found.lines[1]
    assert "ratio 1, GAN paper-000, 3 seeds" in dict(found.facts)["chosen on validation"]
    assert any("the same luck" in limit for limit in found.limits)


def test_no_comparison_is_no_answer_and_no_interval_no_evidence(evidence):
    assert answer(replace(evidence, comparisons=evidence.comparisons.iloc[:0])).lines[0] == "Not answered yet"
    rows = evidence.comparisons.assign(ci_low=None, ci_high=None)
    found = answer(replace(evidence, comparisons=rows.astype({"ci_low": float, "ci_high": float})))
    assert found.lines[0].startswith("Not decided: too little to see or to exclude a gain of 8 points")
    assert found.lines[1].startswith("Accuracy +4.0 points (no 95 % interval)")
    assert set(found.differences.frame["interval"]) == {"-"}
    assert "without an interval" in dict(found.facts)["paper's claim"]


@pytest.mark.parametrize(
    ("subject", "numbers", "finding"),
    [
        ("paper's claim", [0.085], ": inside our interval"), ("paper's claim", [0.04], ": above our interval"),
        ("paper's claim", [0.2], ": below our interval"), ("paper's claim", [0.105], ": partly inside our interval"),
        ("longer training", [0.01, 0.06], "no difference shown"), ("longer training", [0.04], "the gain is larger"),
        ("longer training", [-0.04], "do better"),
    ],
)  # fmt: skip
def test_the_gain_is_compared_with_the_papers_claim_and_with_longer_training(evidence, subject, numbers, finding):
    assert finding in dict(answer(with_comparisons(evidence, *numbers)).facts)[subject]


def test_curves_set_the_chosen_arm_beside_real_and_synthetic_images_alone(evidence):
    names = ["real", "real + synthetic, ratio 1", "synthetic only, ratio 1"]
    assert list(evidence.contrasts) == names
    for trials in evidence.contrasts.values():
        assert set(trials["seed"]) == set(SEEDS) and len(trials) == len(SEEDS)
    assert set(evidence.contrasts[names[1]]["confirms"]) == {"paper-000"}


def test_the_arm_is_chosen_on_validation_not_on_test(evidence):
    assert (evidence.choice.gan, evidence.choice.arm) == ("paper-000", "real_and_synthetic_1")
    assert (evidence.choice.num_arms, evidence.choice.num_seeds) == (4, 3)
    assert evidence.main.groupby("arm")["test_auroc"].mean().idxmax() == "synthetic_only_1"


def test_an_arm_that_was_judged_stays_the_chosen_one(evidence):
    """Also when more choosing seeds would choose another."""
    trials = evidence.trials.copy()
    better = (trials["phase"] == "confirm") & (trials["arm"] == "real_and_synthetic_0.5")
    trials.loc[better, "validation_auroc"] = 0.999
    assert replace(evidence, trials=trials).choice.arm == "real_and_synthetic_1"
    assert replace(evidence, trials=trials[trials["phase"] != "judge"]).choice.arm == "real_and_synthetic_0.5"


def test_image_quality_gives_floor_and_counts_and_the_audit_what_was_flagged(evidence):
    distances = pd.Series([120.0 + seed for seed in SEEDS])
    quality = image_quality(evidence)
    assert f"{distances.mean():.1f} ± {distances.std():.1f} over 3 seeds" in quality
    assert "50.0 (efficientnet_lite0, 110 real and 110 synthetic)" in quality
    assert audit_finding(evidence) == "1 of 6 audited GANs flagged: collapsed: search-004 (seed 2)"

    copying = evidence.generator_metrics.assign(feature_extractor="inception", verdict=COPIES)
    both = replace(evidence, generator_metrics=pd.concat([evidence.generator_metrics, copying]))
    assert audit_finding(both).startswith("6 of 6 audited GANs flagged")
    assert set(generator_tables(both)[0].frame["verdict"]) == {
        f"{COPIES} (in features of inception)", f"{COPIES} (in features of inception); {COLLAPSED} (in features of "
        "efficientnet_lite0)"}  # fmt: skip

    of_a_benchmark = replace(
        evidence,
        trials=evidence.trials[~evidence.trials["phase"].isin(REPEATED)],
        generator_metrics=evidence.generator_metrics.assign(confirms="lapgan-5min"),
    )
    best = of_a_benchmark.best_of_search
    assert f"GAN {best.trial_id}: Frechet distance {best.frechet_distance:.1f}" in image_quality(of_a_benchmark)


def test_the_audit_shows_each_gan_once_in_the_studys_features_unless_its_critic_saw_them(evidence):
    own = evidence.generator_metrics
    other = own.assign(feature_extractor="inception")
    seen = own["gan_key"] == own["gan_key"].iloc[0]
    both = replace(evidence, generator_metrics=pd.concat([other, own[~seen]], ignore_index=True))
    shown, details = (table.frame for table in generator_tables(both))
    assert sorted(shown["gan_key"]) == sorted(own["gan_key"].unique())
    assert (shown["feature_extractor"] == "inception").tolist() == shown["gan_key"].eq(own["gan_key"].iloc[0]).tolist()
    assert len(details) == len(both.generator_metrics)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"is_sample_data": True}, "rendered phantoms"),
        ({"positive_class": "ulcer", "negative_class": "skin"}, "infection: the classes are ulcer and skin"),
        ({"split_protocol": "given", "num_leaked_test": 60, "test_num_images": 120}, "60 of 120 test images"),
        ({"split_protocol": "random"}, "copies of a wound may lie on both sides of a random split"),
        ({}, "random split: it changes the AUROC of real by +0.070"),
    ],
)
def test_limits_name_what_may_not_be_concluded(evidence, data, text):
    changed = replace(evidence, trials=evidence.trials.assign(**data))
    assert any(text in limit for limit in limits(changed))
    assert answer(changed).limits == limits(changed)


def test_the_budget_counts_savings_as_the_command_does(evidence):
    assert saved_minutes(evidence.trials) == (1.0, 0.75)
    shown = budget_table(evidence).frame.set_index("what")["seconds"]
    assert shown["saved by reusing a trained GAN"] == 60
    assert shown["saved by stopping early (estimate)"] == 45


# ---- the command


def test_command_prints_the_answer_and_loads_neither_torch_nor_ray(searched, tmp_path):
    code = (
        f"import sys; from results.report import main; status = main([{str(searched)!r}, '--out', {str(tmp_path)!r}]);"
        "print(status, sorted({'torch', 'ray', 'study', 'data_utils'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert lines[0].startswith("Not answered yet") and lines[-1] == "0 []"
    assert str(tmp_path / "report.html") in lines


@pytest.mark.parametrize("damage", ["nowhere", "trials", "optuna"])
def test_command_refuses_with_its_reason(searched, tmp_path, capsys, damage):
    study = tmp_path / "demo"
    if damage != "nowhere":
        shutil.copytree(searched, study)
        file = {"trials": study / "trials" / "paper.parquet", "optuna": study / "optuna.db"}[damage]
        file.write_bytes(b"neither Parquet nor SQLite" * 100)
    assert main([str(study)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and "demo" in printed.err


def test_a_report_while_only_the_baseline_has_ended(searched, tmp_path):
    study = shutil.copytree(searched, tmp_path / "demo")
    for path in (study / "trials").glob("*.parquet"):
        if path.stem != "baseline":
            path.unlink()
    write_search(study, [])
    assert main([str(study)]) == 0


@pytest.mark.parametrize(("place", "status"), [(None, 0), (4096, 2)], ids=["empty", "inner pages"])
def test_damage_in_optunas_file_is_told_and_nothing_is_written_to_it(searched, tmp_path, capsys, place, status):
    study = shutil.copytree(searched, tmp_path / "demo")
    write_search(study, [])
    whole = (study / "optuna.db").read_bytes()
    content = b"" if place is None else whole[:place] + b"x" * (len(whole) - place)
    (study / "optuna.db").write_bytes(content)
    assert main([str(study)]) == status and (study / "optuna.db").read_bytes() == content
    assert place is None or "is damaged (database disk image is malformed)" in capsys.readouterr().err


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_opens_cleanly(report, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble, requests = [], []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert trouble == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = "[...document.querySelectorAll('#answer .box, #effect figure .box')]"
    assert page.evaluate(f"{boxes}.every(box => box.scrollWidth <= box.clientWidth)"), "the answer scrolls sideways"
    assert page.evaluate("[...document.images].every(image => image.alt && image.naturalWidth > 0)")
    text, ground = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (brightness(text) > brightness(ground)) == (scheme == "dark")
    page.close()


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_the_page_is_used_by_keyboard_and_printed(report, browser):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    folded = page.locator("details table").first
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert folded.is_visible() and folded.bounding_box()["height"] > 0
    page.set_viewport_size({"width": 720, "height": 1000})  # about the text of an A4 sheet
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    page.close()


@pytest.mark.parametrize(("p_adjusted", "ci_low", "expected"), [(0.04, 0.02, 1), (0.06, 0.02, 0), (0.04, None, 0)])
def test_a_difference_is_shown_by_its_adjusted_p(p_adjusted, ci_low, expected):
    assert direction(SimpleNamespace(p_adjusted=p_adjusted, ci_low=ci_low, difference=0.06)) == expected


def test_an_arm_whose_unlucky_seeds_diverged_is_not_chosen(evidence):
    trials = evidence.trials[evidence.trials["phase"] != "judge"].copy()
    confirmed = trials["phase"].eq("confirm") & trials["arm"].eq("real_and_synthetic_1")
    lucky = trials[confirmed & trials["training_fraction"].eq(1)].index[0]
    trials.loc[lucky, "validation_auroc"] = 1.0
    others = confirmed & trials["training_fraction"].eq(1) & (trials.index != lucky)
    trials.loc[others, "status"] = "failed"
    choice = replace(evidence, trials=trials).choice
    assert choice.arm != "real_and_synthetic_1" and choice.num_seeds > 1
