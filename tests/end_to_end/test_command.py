"""The real command, as a user types it: a study, its tables, its end by a signal, and its resumption."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState

from results.tables.schema import HISTORY, TABLES, TRIALS
from tests.support.studies import PATIENCE_S, ROOT, clean_environment, rows_on_disk, run, states, sweep

# ---- one study of two trials, shared by the tests below


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the ended process, the study's folder) of a tiny study on the sample data."""
    out = tmp_path_factory.mktemp("runs")
    return run(sweep(out, 2)), out / "sample-smoke"


@pytest.mark.timeout(PATIENCE_S)
def test_exits_well_and_prints_what_it_did(finished):
    process, study = finished
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Traceback" not in process.stdout + process.stderr
    lines = process.stdout.splitlines()
    long = [line for line in lines if len(line) > 80 and str(study) not in line]
    assert not long
    assert "ended            3 completed, 0 pruned, 0 failed, 0 not finished" in lines
    assert sum("completed  " in line for line in lines) == 3
    printed = [Path(line.split()[-1]) for line in lines if f" {study}/" in line]
    assert {path.name for path in printed} >= {"trials", "history", "leaderboard.csv", "optuna.db", "gans"}
    assert all(path.exists() for path in printed)


@pytest.mark.timeout(PATIENCE_S)
def test_leaves_nothing_on_the_error_stream(finished):
    assert finished[0].stderr == ""


@pytest.mark.timeout(PATIENCE_S)
def test_one_complete_row_a_trial(finished):
    trials = pd.read_parquet(finished[1] / "trials").set_index("trial_id", drop=False).sort_index()
    assert list(trials.columns) == TRIALS.names
    assert trials["status"].to_dict() == dict.fromkeys(["baseline-000", "paper-000", "paper-001"], "completed")
    always = [*("validation_auroc", "test_auroc", "test_tpr", "threshold", "classifier_parameters", "seconds")]
    always += ["data_fingerprint", "split_protocol", "seed", "versions", "hardware", "command", "started_at"]
    assert trials[always].notna().all(axis=None)
    of_gans = ["frechet_distance", "frechet_first", "frechet_floor", "kid_mean", "manifold_precision", "ssim_nearest"]
    of_gans += ["real_or_fake_f1", "gan_key", "generator_parameters", "seconds_per_synthetic_image", "gan_epoch"]
    assert trials[of_gans].notna().all(axis=1).to_list() == [False, True, True]
    assert trials["fid"].isna().all()  # the features are not Inception's
    assert trials["gan_epochs"].eq(2).all() and trials["is_sample_data"].all()
    assert trials["test_auroc"].between(0, 1).all()
    assert trials["backbone"].to_list()[1:] == ["plain", "efficientnetv2_s"]
    assert trials["num_train_synthetic"].to_list() == [0, *trials["num_train_real"].to_list()[1:]]


@pytest.mark.timeout(PATIENCE_S)
def test_history_and_leaderboard(finished):
    history = pd.read_parquet(finished[1] / "history")
    assert list(history.columns) == HISTORY.names
    gan = history[history["stage"] == "gan"].set_index(["trial_id", "epoch"]).sort_index()
    assert gan.index.to_list() == [(name, epoch) for name in ("paper-000", "paper-001") for epoch in (1, 2)]
    assert gan["frechet_distance"].gt(0).all()
    assert history["trial_id"][history["stage"] == "classifier"].nunique() == 3
    board = pd.read_csv(finished[1] / "leaderboard.csv")
    assert board["rank"].to_list() == [0, 1, 2, 3] and board.loc[0, "trial_id"] == "paper"
    assert board.loc[1:, "comparable"].str.contains("sample data").all()


@pytest.mark.timeout(PATIENCE_S)
def test_optuna_and_gans(finished):
    assert states(finished[1]) == {TrialState.COMPLETE: 2}
    gans = list((finished[1] / "gans").iterdir())
    assert len(gans) == 2 and all((gan / "generator.safetensors").exists() for gan in gans)
    assert not any((finished[1] / "checkpoints").iterdir())


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("which", [("--best", "auroc"), ("--best", "frechet"), ("--trial", "paper-000")])
def test_rows_reproduce_without_ray(finished, which):
    process = run([sys.executable, "study/reproduce.py", str(finished[1]), *which])
    assert process.returncode == 0, process.stdout + process.stderr
    assert "all metrics are equal" in process.stdout and "differs" not in process.stdout
    lines = [line.split() for line in process.stdout.splitlines()]
    stored, here = next(line[1:] for line in lines if line[:1] == ["test_auroc"])
    assert stored == here


@pytest.mark.timeout(2 * PATIENCE_S)
def test_given_again_it_names_resume_which_adds_only_what_is_new(finished):
    _, study = finished
    before = rows_on_disk(study)
    again = run(sweep(study.parent, 2))
    assert again.returncode == 2 and "--resume" in again.stderr and rows_on_disk(study) == before
    resumed = run(sweep(study.parent, 3, "--resume"))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = rows_on_disk(study)
    assert after.keys() - before.keys() == {"paper-002"} and before.items() <= after.items()


# ---- confirmed over a new seed and all arms


@pytest.fixture(scope="module")
def confirmed(finished):
    """(the ended process, the study's folder, the command) of a confirmation of one trial with one seed."""
    _, study = finished
    command = [sys.executable, "study/confirm.py", str(study), "--trials", "paper-000", "--seeds", "1"]
    command += ["--ratios", "0.5", "--fractions", "0.5", "--judge-seeds", "2"]
    return run(command, cpus=1), study, command


@pytest.mark.timeout(PATIENCE_S)
def test_confirmation_runs_every_arm(confirmed):
    process, study, _ = confirmed
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stderr == "" and "ended            18 completed, 0 failed" in process.stdout.splitlines()
    trials = pd.read_parquet(study / "trials").query("phase == 'confirm'")
    arms = trials.query("training_fraction == 1 and split_protocol == 'grouped'")["arm"]
    assert sorted(arms) == [
        "real", "real_and_synthetic_0.5", "real_and_synthetic_1", "real_oversampled_0.5", "real_oversampled_1",
        "real_unaugmented", "synthetic_only_1",
    ]  # fmt: skip
    assert trials["seed"].eq(1).all() and trials["status"].eq("completed").all()
    assert trials.set_index("arm")["num_train_real"]["synthetic_only_1"] == 0
    leaked = trials.groupby("split_protocol")["num_leaked_test"].max()
    assert leaked["grouped"] == 0 < leaked["random"]
    judges = pd.read_parquet(study / "trials").query("phase == 'judge'")
    whole = trials.query("training_fraction == 1 and split_protocol == 'grouped'").set_index("arm")["validation_auroc"]
    chosen = whole.filter(like="real_and_synthetic").idxmax()
    repeated = chosen.replace("real_and_synthetic", "real_oversampled")
    assert sorted(judges["arm"]) == sorted(2 * [chosen, "real", repeated])
    assert not set(judges["seed"]) & set(trials["seed"]) and judges["training_fraction"].eq(1).all()


@pytest.mark.timeout(PATIENCE_S)
def test_confirmation_fills_every_table(confirmed):
    _, study, _ = confirmed
    for name, schema in TABLES.items():
        table = pd.read_parquet(study / name)
        assert list(table.columns) == schema.names and len(table), name
    predictions = pd.read_parquet(study / "predictions")
    grouped = pd.read_parquet(study / "trials").query("split_protocol == 'grouped'")["trial_id"]
    clean = predictions.query("side == 'test' and corruption == 'none' and trial_id in @grouped")
    assert clean.groupby("trial_id").size().eq(clean["image_id"].nunique()).all()
    assert clean["trial_id"].nunique() == len(grouped)
    assert predictions["corruption"].nunique() == 7
    comparisons = pd.read_parquet(study / "comparisons")
    assert (comparisons["ci_low"] <= comparisons["difference"]).all()
    assert (comparisons["difference"] <= comparisons["ci_high"]).all()


@pytest.mark.timeout(PATIENCE_S)
def test_confirmation_given_again_runs_nothing_twice(confirmed):
    _, study, command = confirmed
    before = rows_on_disk(study)
    again = run(command)
    assert again.returncode == 0 and "12 are done" in again.stdout and "starting Ray" not in again.stdout
    assert rows_on_disk(study) == before


@pytest.mark.timeout(PATIENCE_S)
def test_report_of_the_confirmed_study(confirmed):
    _, study, _ = confirmed
    process = run([sys.executable, "results/report.py", str(study)])
    assert process.returncode == 0, process.stdout + process.stderr
    page = (study / "report" / "report.html").read_text(encoding="utf-8")
    assert "SAMPLE DATA" in page.upper() and "http://" not in page.replace("http://www.w3.org", "")


# ---- systems at an equal cost


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_benchmark_trains_each_system_on_as_many_images(confirmed):
    _, study, _ = confirmed
    command = [sys.executable, "study/benchmark.py", str(study), "--systems", "wgan_gp,principal", "--seeds", "2"]
    process = run([*command, "--images", "300"], cpus=1)
    assert process.returncode == 0 and "ended            12 completed, 0 failed" in process.stdout, process.stderr
    trials = pd.read_parquet(study / "trials").query("phase == 'benchmark'")
    assert sorted(trials["confirms"].dropna().unique()) == ["principal-300images", "wgan_gp-300images"]
    assert dict(trials.dropna(subset="confirms").groupby("system")["gan_epoch"].unique().map(tuple)) == {
        "principal": (0,), "wgan_gp": (1,),
    }  # fmt: skip
    comparisons = pd.read_parquet(study / "comparisons").query("phase == 'benchmark' and side == 'test'")
    assert set(comparisons["gan"]) >= {"principal-300images", "wgan_gp-300images"}
    assert set(trials["gan_key"].dropna()) <= set(pd.read_parquet(study / "generator_metrics")["gan_key"])
    again = run([*command, "--images", "300"])
    assert again.returncode == 0 and "12, of which 12 are done" in again.stdout and "starting Ray" not in again.stdout


# ---- ended by a signal, and gone on with


def start_and_interrupt(command: list[str], study: Path, number: signal.Signals) -> tuple[int, str]:
    """Run until the first row is there, then send the signal; the exit code and what was printed."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not rows_on_disk(study) and time.monotonic() < deadline:
            assert process.poll() is None, f"ended before its first row:\n{process.communicate()[0]}"
            time.sleep(0.1)
        process.send_signal(number)
        return process.wait(PATIENCE_S), process.communicate()[0]
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_interrupted_study_is_resumed(tmp_path, number):
    command, study = sweep(tmp_path, 4), tmp_path / "sample-smoke"
    code, printed = start_and_interrupt(command, study, number)
    before = rows_on_disk(study)
    assert 1 <= len(before) < 5
    if number != signal.SIGKILL:
        assert code == 130 and "Traceback" not in printed
        assert f"{len(before)} completed, 0 pruned, 0 failed, {5 - len(before)} not finished" in printed
        assert "--resume" in printed.splitlines()[-1]
    resumed = run([*command, "--resume"])
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = rows_on_disk(study)
    assert before.items() <= after.items()  # no finished trial was run again
    assert sorted(after) == ["baseline-000", *(f"paper-{number:03}" for number in range(4))]
    assert states(study) == {TrialState.COMPLETE: 4}
    assert set(pd.read_parquet(study / "trials")["status"]) == {"completed"}
