"""A stored row, run again here: which row, with which config, and what is said of the difference."""

import shutil

import numpy as np
import pytest

from results.tables.store import read_trials
from study.config import make_config
from study.reproduce import main
from study.trial.choice import choose_row
from study.trial.record import row_config
from tests.support.studies import change_row, trained_study

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")


@pytest.fixture(scope="module")
def finished(prepared_phantoms, tiny_settings, tmp_path_factory):
    """A study of a real-only trial, one with a GAN, and a failed one."""
    trials = {"broken": ({"synthetic_ratio": 0.0}, {}), "real": ({"synthetic_ratio": 0.0}, {})}
    trials["mixed"] = {"synthetic_ratio": 0.5}, {}
    study = trained_study(tmp_path_factory.mktemp("runs"), prepared_phantoms, tiny_settings, trials)
    change_row(study, "broken", status="failed", reason="critic collapsed", validation_auroc=None)
    return study


@pytest.fixture
def study(finished, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(finished.parent, tmp_path / "runs")
    return tmp_path / "runs" / "study"


@pytest.mark.parametrize("trial_id", ["real", "mixed"])
def test_equal_on_the_same_machine(finished, capsys, trial_id):
    before = sorted(finished.parent.rglob("*"))
    assert main([str(finished), "--trial", trial_id]) == 0
    printed = capsys.readouterr().out
    assert f"trial        {trial_id} of" in printed and printed.rstrip().endswith("all metrics are equal")
    shown = {line.split()[0] for line in printed.splitlines() if line}
    assert ("frechet_distance" in shown) == (trial_id == "mixed") and {"test_auroc", "threshold"} <= shown
    assert sorted(finished.parent.rglob("*")) == before


@pytest.mark.parametrize(("trial", "is_told"), [("mixed", True), ("real", False)])
def test_a_gan_that_was_trained_by_time_is_told(study, trial, is_told, capsys, monkeypatch):
    change_row(study, trial, gan_time_limit=90.0)
    row = choose_row(study, None, trial)
    monkeypatch.setattr("study.commands.reproduce.execute", lambda *arguments: row)
    assert main([str(study), "--trial", trial]) == 0
    told = "the GAN was trained for 90 s, not for epochs: figures will differ\n"
    assert (told in capsys.readouterr().out) is is_told


def test_a_difference_is_shown_and_fails(study, capsys):
    row = choose_row(study, None, "real")
    change_row(study, "real", test_auroc=0.125)
    assert main([str(study), "--trial", "real"]) == 1
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("test_auroc"))
    assert line.split() == ["test_auroc", "0.125", f"{row['test_auroc']:.6g}", "differs"]
    assert "1 metrics differ" in printed


def test_a_metric_that_is_missing_here_differs(study, capsys):
    change_row(study, "real", fid=12.0)
    assert main([str(study), "--trial", "real"]) == 1
    assert ["fid", "12", "-", "differs"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_best(finished):
    rows = read_trials(finished).set_index("trial_id")
    aurocs = rows["validation_auroc"].dropna()
    assert rows.loc[choose_row(finished, "auroc", None)["trial_id"], "validation_auroc"] == aurocs.max()
    assert choose_row(finished, "frechet", None)["trial_id"] == "mixed"  # the other one has no distance


def test_a_rows_config_is_the_trials_config(finished, tiny_settings):
    """Whole, though a table with gaps holds its integers as floats."""
    row = choose_row(finished, None, "mixed")
    assert row_config(row) == make_config(tiny_settings | {"synthetic_ratio": 0.5})
    loose = {name: float(value) if type(value) in (int, np.int64) else value for name, value in row.items()}
    assert row_config(loose) == row_config(row)


def refused(capsys, *arguments: str) -> str:
    assert main([str(word) for word in arguments]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("error: ")
    return message


def test_what_cannot_be_reproduced(study, capsys, tmp_path):
    assert f"{tmp_path} is not a study" in refused(capsys, tmp_path, "--best", "auroc")
    for name in ("nothing", "broken"):
        message = refused(capsys, study, "--trial", name)
        assert name in message and "completed are: mixed, real" in message
    (study / "trials" / "mixed.parquet").unlink()
    assert "no completed trial that frechet could rank" in refused(capsys, study, "--best", "frechet")
    prepared = next((study.parent / "prepared").iterdir())
    prepared.rename(tmp_path / "elsewhere")
    message = refused(capsys, study, "--best", "auroc")
    assert f"{prepared} is missing" in message and "prepare it again" in message
    prepared.write_bytes(b"no table")
    assert prepared.name in refused(capsys, study, "--best", "auroc")


def test_damaged_row_is_named(study, capsys):
    (study / "trials" / "real.parquet").write_bytes(b"PAR1 no more")
    assert f"{study / 'trials' / 'real.parquet'} is damaged" in refused(capsys, study, "--best", "auroc")


def test_trial_that_fails_here_says_why(study, capsys, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr("study.trial.execute.run_trial", fail)
    assert main([str(study), "--trial", "real"]) == 2
    assert "the trial failed here: RuntimeError: no memory" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("arguments", ["", "study", "study --best ssim", "study --best auroc --trial a"])
def test_usage(arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments.split())
    assert exit.value.code == 2
