"""What `study/benchmark.py` lists before anything runs, and what it finds, without Ray."""

import shutil
from collections import Counter

import pytest
import torch

from data_utils.dataset import load_dataset
from results.page.few import few_data_table
from results.page.systems import systems_table
from results.stats.evidence import read_evidence, select
from results.tables.store import read_trials
from study import benchmark
from study.cluster import connect as ray_cluster
from study.commands.benchmark import write_findings
from study.commands.repeated import training_counter
from study.config import CLASSIFIERS, make_config, preset
from study.progress.display import Display
from study.search.benchmark import Arms, Budget, benchmark_plan
from study.search.confirmation import NO_AUGMENTATION
from study.settings import StudySettings, write_settings
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task
from tests.support.features import coarse_pixels

BASE = make_config(preset("smoke") | {"gan_batch_size": 16, "classifier_batch_size": 16})
PLAN = ("--systems", "wgan_gp,principal", "--seeds", "2", "--minutes", "5", "--dry-run")


@pytest.fixture
def dry_run(prepared_phantoms, tmp_path, monkeypatch, capsys):
    """What a dry run prints for a study of one trial, by further flags; nothing may be run."""
    monkeypatch.setattr(ray_cluster.ray, "init", lambda *a, **k: pytest.fail("Ray was started"))
    shutil.copytree(prepared_phantoms.path.parent, tmp_path / "prepared")
    folder = tmp_path / "study"
    folder.mkdir()
    write_settings(folder, StudySettings("smoke", {}, "pareto", BASE, ()).record(prepared_phantoms))
    columns = data_columns(prepared_phantoms) | {"phase": "baseline", "objective": "pareto"}
    Task(folder, prepared_phantoms.path, "baseline-000", BASE, 1, 1, columns).write_row("completed", None, {})

    def lines(*flags: str) -> list[str]:
        before = sorted(tmp_path.rglob("*"))
        assert benchmark.main([str(folder), *PLAN, *flags]) == 0
        assert sorted(tmp_path.rglob("*")) == before
        printed = capsys.readouterr().out.splitlines()
        assert max(map(len, printed)) <= 80
        return printed

    return lines


def test_a_dry_run_lists_the_arms(dry_run):
    assert dry_run() == [
        "systems      wgan_gp, principal",
        "each         5 minutes of training, 2 seeds, in arms with and without real",
        "  images",
        "trials       12, of which 0 are done",
        "    4 x real and synthetic 1, grouped split, classifier small",
        "    4 x synthetic only 1, grouped split, classifier small",
        "    2 x real, grouped split, classifier small",
        "    2 x real oversampled 1, grouped split, classifier small",
        "time         10 minutes of GAN training at most, divided among the trials at",
        "  once",
    ]


def test_a_dry_run_lists_the_arms_of_few_data(dry_run):
    printed = dry_run("--fractions", "0.5")
    assert "fractions    0.5 of the groups, with GANs of these alone and after all images" in printed
    words = [line.strip() for line in printed]
    assert "2 x real, 50% of the groups, grouped split, classifier small" in words
    assert "4 x real and synthetic 1, 50% of the groups, grouped split, classifier small" in words
    place = words.index("2 x real and synthetic 1, 50% of the groups, GAN pretrained without labels,")
    assert words[place + 1] == "grouped split, classifier small"
    assert "trials       22, of which 0 are done" in printed
    assert printed[-2].startswith("time         30 minutes")


def test_a_part_that_fills_no_batch_is_refused_with_the_flags(dry_run, capsys, tmp_path):
    assert benchmark.main([str(tmp_path / "study"), *PLAN, "--fractions", "0.05"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "5% of the groups" in message and "or choose other --systems, --positives or --fractions" in message


@pytest.mark.usefixtures("dry_run")
def test_a_study_whose_real_images_are_compared_with_nothing_is_refused(capsys, tmp_path, prepared_phantoms):
    base = BASE.model_copy(update=NO_AUGMENTATION)
    write_settings(tmp_path / "study", StudySettings("smoke", {}, "pareto", base, ()).record(prepared_phantoms))
    assert benchmark.main([str(tmp_path / "study"), *PLAN]) == 2
    assert "no classical augmentation" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_names_further_classifiers(dry_run):
    printed = dry_run("--classifiers", "small,efficientnet_lite0")
    assert "classifiers  small (the study's own), efficientnet_lite0" in printed
    assert "trials       24, of which 0 are done" in printed
    assert "    2 x real, grouped split, classifier efficientnet_lite0" in printed
    assert printed[-2].startswith("time         10 minutes")  # of the same GANs


def test_a_trial_with_damaged_predictions_runs_again_and_a_dry_run_leaves_it_alone(
    dry_run, prepared_phantoms, tmp_path, monkeypatch
):
    folder, planned = tmp_path / "study", []

    def interrupted(options, trials, *others) -> bool:
        planned.append([one.trial_id for one in trials.waiting])
        return True

    monkeypatch.setattr("study.commands.benchmark.run_on_ray", interrupted)
    assert benchmark.main([str(folder), *PLAN[:-1]]) == 130
    columns = data_columns(prepared_phantoms) | {"phase": "benchmark", "objective": "pareto"}
    Task(folder, prepared_phantoms.path, planned[0][0], BASE, 1, 1, columns).write_row("completed", None, {})
    (folder / "predictions").mkdir()
    (folder / "predictions" / f"{planned[0][0]}.parquet").write_bytes(b"damaged")
    assert "trials       12, of which 1 are done" in dry_run()
    assert benchmark.main([str(folder), *PLAN[:-1]]) == 130
    assert planned[0] == planned[1] and len(planned[1]) == 12


@pytest.fixture
def benchmarked(prepared_phantoms, tiny_settings, tmp_path, monkeypatch):
    """The evidence of a tiny study with a baseline and a benchmark of few data and two classifiers, one of which stands
    in for a larger one."""
    monkeypatch.setattr("study.training.memory.free_memory", lambda: None)  # two thirds of the time, here
    monkeypatch.setitem(CLASSIFIERS["efficientnet_lite0"], "classifier_backbone", "test_efficientnet")
    monkeypatch.setitem(CLASSIFIERS["efficientnet_lite0"], "classifier_pretrained", False)
    monkeypatch.setattr("study.gan_audit.study.build_extractors", lambda own, folder, device: [coarse_pixels()])
    folder, base = tmp_path / "study", make_config(tiny_settings | {"classifier_epochs": 1, "lstm_depth": 0})
    prepared = shutil.copytree(prepared_phantoms.path.parent, tmp_path / "prepared") / prepared_phantoms.path.name
    shared = {"objective": "pareto", "command": "none", **data_columns(prepared_phantoms)}
    arms = Arms(fractions=(0.5,), classifiers=("efficientnet_lite0",))
    count = training_counter(load_dataset(prepared, 32))
    plan = benchmark_plan(base, ("wgan_gp",), 2, Budget(images=70), count, "grouped", arms)
    tasks = [("baseline-000", base.model_copy(update={"synthetic_ratio": 0.0}), {"phase": "baseline"})]
    tasks += [(one.trial_id, one.config, {"phase": one.phase, **one.columns}) for one in plan]
    for trial_id, config, columns in tasks:
        task = Task(folder, prepared, trial_id, config, 1, 1, shared | columns)
        assert execute(task, lambda entry: None, torch.device("cpu"))["status"] == "completed"
    assert write_findings(folder, Display()) == 0
    return read_evidence(folder)


@pytest.mark.usefixtures("one_thread", "pixel_quality")
def test_few_data_and_two_classifiers_from_plan_to_report(benchmarked):
    trials = select(read_trials(benchmarked.study), phase="benchmark")
    assert Counter(trials["classifier"]) == {"small": len(trials) / 2, "efficientnet_lite0": len(trials) / 2}
    gans = trials.dropna(subset="gan_key")
    trained = select(gans, gan_reused=False)
    assert len(trained) == gans["gan_key"].nunique() == 2 * 3  # each once: of all data, of the part, pretrained
    assert set(trained["classifier"]) == {"small"}  # it comes first to each GAN
    pretrained = select(trained, pretraining="unlabelled")
    assert set(pretrained["confirms"]) == {"wgan_gp-70images-unlabelled"} and len(pretrained) == 2
    assert (pretrained["gan_pretraining_epochs"] == pretrained["gan_epoch"] // 2).all()
    assert (select(trained, pretraining="none")["gan_pretraining_epochs"] == 0).all()
    part = select(trials, training_fraction=0.5)
    assert part["num_train_real"].nunique() <= 2 and part["num_train_real"].max() < trials["num_train_real"].max()

    rows = select(benchmarked.comparisons, side="test", metric="auroc", family="few data")
    keys = trials["classifier_key"].unique()
    assert {*zip(rows["classifier_key"], rows["gan"], rows["arm_b"], rows["training_fraction"], strict=True)} == {
        (key, gan, "real", 0.5) for key in keys for gan in ("wgan_gp-70images", "wgan_gp-70images-unlabelled")
    }  # fmt: skip
    (table,) = few_data_table(benchmarked)
    assert list(table.frame["classifier"]) == ["small"] * 4 + ["efficientnet_lite0"] * 4
    assert list(table.frame["system"]) == ["-", "-", "wgan_gp-70images", "wgan_gp-70images-unlabelled"] * 2
    assert list(table.frame["auroc"] == "-") == [True, True, False, False] * 2
    whole = select(gans, training_fraction=1.0).drop_duplicates("gan_key")
    assert list(systems_table(benchmarked, whole).frame["classifier"]) == ["small", "efficientnet_lite0"]
    assert set(benchmarked.generator_metrics["gan_key"]) == set(whole["gan_key"])  # the audit is of all data
