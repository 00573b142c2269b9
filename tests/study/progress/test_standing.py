"""How far a study is, by its files."""

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from study import run_sweep
from study.config import make_config, preset
from study.progress.standing import ASKED, read_planned, standing, write_asked, write_planned
from study.storage.lock import command_at_work, hold
from study.storage.sealed import write_json
from study.trial.record import Task

ROOT = Path(__file__).resolve().parents[3]
SMOKE = make_config(preset("smoke") | {"gan_epochs": 60, "classifier_epochs": 12})
NOW = datetime.now(UTC).replace(microsecond=0)


def task(study, trial_id: str, phase: str = "search") -> Task:
    return Task(study, study, trial_id, SMOKE, 1, 1, {"phase": phase})


def ended(study, trial_id, status="completed", phase="search", reason=None, **columns) -> None:
    task(study, trial_id, phase).write_row(status, reason, columns)


def begun(study, trial_id, *entries: dict, at: datetime = NOW) -> None:
    one = task(study, trial_id)
    one.note_start({"started_at": at.isoformat()})
    if entries:
        one.write_history(list(entries))


@pytest.fixture
def study(tmp_path):
    """A search of 8 trials, two at once: 4 have ended, one is to run again, and two of three that began are at work."""
    folder = tmp_path / "sample-smoke"
    folder.mkdir()
    write_json(folder / "study.json", {})
    ended(folder, "baseline-000", phase="baseline", seconds=1.0, classifier_seconds=30.0)
    ended(folder, "paper-000", phase="paper", seconds=100.0, startup_seconds=20.0, classifier_seconds=30.0)
    ended(folder, "search-001", "pruned", reason="stopped", gan_seconds=60.0, startup_seconds=20.0)
    ended(folder, "search-002", "failed", reason="diverged", seconds=60.0, startup_seconds=20.0)
    write_planned(folder, "search", 4, 2)
    ended(folder, "search-005", "failed", reason="lost by Ray (1 of 3): node died")
    gan = {"stage": "gan", "epoch": 15, "seconds": 50.0, "frechet_distance": 210.0}
    begun(folder, "search-003", {**gan, "epoch": 10, "seconds": 30.0}, gan)
    begun(folder, "search-004", gan, {"stage": "classifier", "epoch": 3, "seconds": 15.0})
    begun(folder, "search-006", at=NOW - timedelta(hours=1))  # interrupted, and not yet begun again
    return folder


def test_what_ended_and_what_runs(study):
    (search,) = standing(study, NOW)
    assert search.ended == {"completed": 2, "pruned": 1, "failed": 1} and search.planned == 8 and search.left == 4
    first, second = search.running
    assert (first.trial_id, first.stage, first.epoch, first.epochs) == ("search-003", "gan", 15, 60)
    # 45 epochs at the pace of the first 15, then a classifier as those before
    assert first.distance == 210.0 and first.seconds_left == pytest.approx(45 * 50 / 15 + 30, abs=10)
    assert (second.stage, second.epoch, second.epochs) == ("classifier", 3, 12)
    assert second.seconds_left == pytest.approx(9 * 5, abs=10)


def test_time_left_is_that_of_trials_that_have_ended(study):
    (search,) = standing(study, NOW)
    cost = (120 + 80 + 80) / 3  # without the baseline, whose like does not come again
    assert search.seconds_left == pytest.approx((180 + 45 + 2 * cost) / 2, abs=10)


def test_nothing_runs_where_no_command_is_at_work(study):
    (search,) = standing(study, None)
    assert search.running == () and search.ended.total() == 4


def test_before_anything_was_measured_no_time_is_told(tmp_path):
    assert standing(tmp_path, NOW) == []
    write_planned(tmp_path, "search", 3, 1)
    begun(tmp_path, "baseline-000")
    (search,) = standing(tmp_path, NOW)
    assert search.seconds_left is None and search.running[0].stage is None


def test_a_confirmation_is_counted_apart(study):
    write_planned(study, "confirmation", 20, 2)
    ended(study, "confirm-paper-000-real-grouped-s1", phase="confirm", seconds=10.0)
    search, confirmation = standing(study, NOW)
    assert confirmation.planned == 20 and confirmation.ended.total() == 1
    assert search.planned == 8 and search.running and confirmation.seconds_left is None  # which nobody runs now
    search, confirmation = standing(study, None)
    assert confirmation.seconds_left == pytest.approx(19 * 10 / 2)


def test_what_a_search_was_asked_for_outlives_the_plans_of_its_parts(tmp_path):
    assert read_planned(tmp_path).get(ASKED) is None
    write_asked(tmp_path, 40, 15)
    write_planned(tmp_path, "search", 20, 2)
    assert read_planned(tmp_path)[ASKED] == 40 and len(standing(tmp_path, None)) == 1


def test_time_left_knows_how_many_trials_train_a_gan(tmp_path):
    """Those of a benchmark that do come first; the others cost a classifier alone."""
    write_planned(tmp_path, "benchmark", 6, 1, gans=3)

    def seconds_left() -> float:
        (benchmark,) = standing(tmp_path, None)
        return benchmark.seconds_left

    gan = {"gan_seconds": 100.0, "classifier_seconds": 10.0, "phase": "benchmark"}
    ended(tmp_path, "benchmark-a", seconds=110.0, gan_reused=False, **gan)
    assert seconds_left() == pytest.approx(2 * 110 + 3 * 10)
    ended(tmp_path, "benchmark-b", seconds=12.0, gan_reused=True, **gan)
    assert seconds_left() == pytest.approx(2 * 110 + 2 * 12)
    write_planned(tmp_path, "benchmark", 4, 2, gans=2)  # the same command again
    assert seconds_left() == pytest.approx((2 * 110 + 2 * 12) / 2)


def test_time_left_is_never_below_nothing(tmp_path):
    """A search knows only roughly how many GANs it will train."""
    write_planned(tmp_path, "search", 3, 1, gans=1)
    gan = {"gan_seconds": 100.0, "classifier_seconds": 10.0, "seconds": 110.0, "gan_reused": False}
    for name in ("search-000", "search-001"):
        ended(tmp_path, name, **gan)
    (search,) = standing(tmp_path, None)
    assert search.seconds_left == pytest.approx(10)


# ---- the command


def test_judging_trials_are_the_confirmations(study):
    ended(study, "confirm-a", phase="confirm", seconds=10.0)
    ended(study, "judge-a", phase="judge", seconds=10.0)
    write_planned(study, "confirmation", 3, 1)
    begun(study, "judge-b")
    search, confirmation = standing(study, NOW - timedelta(minutes=1))
    assert confirmation.ended.total() == 2 and confirmation.planned == 5
    assert [one.trial_id for one in confirmation.running] == ["judge-b"]
    assert search.ended.total() == 4


def test_status_of_a_study_that_runs(study, capsys):
    with hold(study):
        (study / "driver.json").write_text(json.dumps(read(study) | {"since": NOW.isoformat()}))
        assert run_sweep.main(["status", str(study)]) == 0
    said = capsys.readouterr().out
    assert f"process {os.getpid()} on {socket.gethostname()}" in " ".join(said.split())
    assert "search       4 of 8 trials: 2 completed, 1 pruned, 1 failed, ~" in said
    assert "running    search-003: GAN epoch 15 of 60, Frechet 210.0, ~" in said
    assert max(map(len, said.splitlines())) <= 80 or str(study) in said


def read(study) -> dict:
    return json.loads((study / "driver.json").read_text())


def test_status_of_a_study_that_does_not_run_ends_a_watch(study, capsys):
    assert run_sweep.main(["status", str(study), "--watch"]) == 0
    said = capsys.readouterr().out
    assert "no command is at work" in said and "left" not in said and "--resume" in said


def test_a_watch_tells_news_until_the_command_ends(study, capsys, monkeypatch):
    monkeypatch.setattr("study.commands.status.EVERY_S", 0.0)
    holders = [{"host": "h", "pid": 1, "since": NOW.isoformat()}] * 3 + [{}]

    def next_holder(folder):
        if len(holders) == 2:
            ended(study, "search-003", seconds=100.0)
        return holders.pop(0)

    monkeypatch.setattr("study.commands.status.command_at_work", next_holder)
    assert run_sweep.main(["status", str(study), "--watch"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("search")]
    assert [line.split()[1] for line in lines] == ["4", "5", "5"]


def test_an_unknown_study_is_refused(tmp_path, capsys):
    assert run_sweep.main(["status", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "is not a study" in " ".join(said.split())


def test_status_loads_neither_ray_nor_torch(study):
    code = (
        f"import sys, study.run_sweep as command; command.main(['status', {str(study)!r}]); "
        "print({'ray', 'torch', 'optuna'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.endswith("\nset()\n")


# ---- who works on a study


def test_a_command_that_was_killed_is_not_at_work(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    holder = {"host": socket.gethostname(), "pid": gone.pid, "since": NOW.isoformat()}
    for pid, since in ((gone.pid, NOW), (os.getpid(), NOW - timedelta(days=1))):  # a number that was used again
        (tmp_path / "driver.json").write_text(json.dumps(holder | {"pid": pid, "since": since.isoformat()}))
        assert command_at_work(tmp_path) == {}


def test_a_command_on_another_machine_is_at_work_while_its_file_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("study.storage.lock.HEARTBEAT_S", 0.3)
    holder = tmp_path / "driver.json"
    holder.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": NOW.isoformat()}))
    assert command_at_work(tmp_path) == {}
    beats = iter([1, 2])
    monkeypatch.setattr("study.storage.lock.last_beat", lambda path: next(beats))
    started = time.monotonic()
    assert command_at_work(tmp_path)["host"] == "elsewhere" and time.monotonic() - started < 0.3
