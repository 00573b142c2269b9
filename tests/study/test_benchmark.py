"""What `study/benchmark.py` lists before anything runs."""

import shutil

import pytest

from study import benchmark
from study.cluster import connect as ray_cluster
from study.config import make_config, preset
from study.settings import StudySettings, write_settings
from study.trial.provenance import data_columns
from study.trial.record import Task

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
    place = words.index("2 x real and synthetic 1, 50% of the groups, all without labels first,")
    assert words[place + 1] == "grouped split, classifier small"
    assert "trials       22, of which 0 are done" in printed
    assert printed[-2].startswith("time         30 minutes")


def test_a_part_that_fills_no_batch_is_refused_with_the_flags(dry_run, capsys, tmp_path):
    assert benchmark.main([str(tmp_path / "study"), *PLAN, "--fractions", "0.05"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "5% of the groups" in message and "or choose other --systems, --positives or --fractions" in message


def test_a_dry_run_names_further_classifiers(dry_run):
    printed = dry_run("--classifiers", "small,efficientnet_lite0")
    assert "classifiers  small (the study's own), efficientnet_lite0" in printed
    assert "trials       24, of which 0 are done" in printed
    assert "    2 x real, grouped split, classifier efficientnet_lite0" in printed
    assert printed[-2].startswith("time         10 minutes")  # of the same GANs
