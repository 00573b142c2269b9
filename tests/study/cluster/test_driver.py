"""The launcher's side of a trial as far as it goes without starting Ray: stopping GANs, writing rows."""

import time
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from results.tables.store import read_trials
from study.cluster.bridge import Bridge, StopBadGans
from study.config import make_config, preset
from study.search.proposer import Search
from study.search.stopping import Halving, measured_curves
from study.trial.record import Task
from tests.support.display import KeptLines

SMOKE = make_config(preset("smoke"))

# ---- stopping bad GANs, and what their ends leave


def new_scheduler():
    """GANs of 8 epochs, measured at every epoch: judged at epochs 2 and 4 while fewer than four have finished."""
    return StopBadGans(Halving(last_epoch=8, interval=1))


def report(scheduler, name, distance, stoppable=True, epoch=2, gan=None, judged=True):
    """One trial's report of its own GAN, or of `gan`."""
    trial = SimpleNamespace(trial_id=name, config={"stoppable": stoppable, "judged": judged})
    result = {"epoch": epoch, "frechet_distance": distance, "gan_key": gan or name}
    return scheduler.on_trial_result(None, trial, result)


def test_worse_half_is_stopped_and_the_papers_configurations_are_not():
    scheduler = new_scheduler()
    assert [report(scheduler, name, 100.0) for name in "ab"] == [TrialScheduler.CONTINUE] * 2
    assert report(scheduler, "worse", 200.0) == TrialScheduler.STOP
    assert report(scheduler, "paper", 300.0, stoppable=False) == TrialScheduler.CONTINUE
    assert report(scheduler, "better", 50.0) == TrialScheduler.CONTINUE
    assert report(scheduler, "young", 400.0, epoch=1) == TrialScheduler.CONTINUE
    assert scheduler.stopped == {"worse"}


def test_a_good_system_is_no_standard_for_the_searchs_gans(tmp_path):
    scheduler = new_scheduler()
    for name in "ab":
        report(scheduler, name, 100.0)
    for name in ("system-000", "system-001", "system-002"):
        assert report(scheduler, name, 10.0, stoppable=False, judged=False) == TrialScheduler.CONTINUE
        task = Task(tmp_path, tmp_path, name, SMOKE, 1, 1, {})
        task.write_history([{"stage": "gan", "gan_key": name, "epoch": 1, "frechet_distance": 10.0}])
    assert report(scheduler, "new", 90.0) == TrialScheduler.CONTINUE
    for name in ("confirm-search-000-1", "judge-search-000-1000", "benchmark-r3gan-5min-1"):  # nor when it goes on
        task = Task(tmp_path, tmp_path, name, SMOKE, 1, 1, {})
        task.write_history([{"stage": "gan", "gan_key": name, "epoch": 1, "frechet_distance": 10.0}])
    assert measured_curves(tmp_path) == {}


def test_a_resumed_study_judges_by_what_it_measured_before(tmp_path):
    for name, gan, distance in (("search-000", "a", 100.0), ("search-001", "b", 90.0), ("search-002", "b", 90.0)):
        task = Task(tmp_path, tmp_path, name, SMOKE, 1, 1, {})
        gan_entries = [
            {"stage": "gan", "gan_key": gan, "epoch": epoch, "frechet_distance": distance - epoch} for epoch in (1, 2)
        ]
        task.write_history([*gan_entries, {"stage": "classifier", "epoch": 1, "validation_auroc": 0.5}])
    curves = measured_curves(tmp_path)
    assert curves == {"a": {1: 99.0, 2: 98.0}, "b": {1: 89.0, 2: 88.0}}
    resumed = StopBadGans(Halving(last_epoch=8, interval=1, curves=curves))
    assert report(resumed, "new", 99.0) == TrialScheduler.STOP
    assert report(new_scheduler(), "new", 99.0) == TrialScheduler.CONTINUE
    assert measured_curves(tmp_path / "new study") == {}


def test_a_stopped_trial_saved_its_remaining_epochs():
    assert new_scheduler().saved_seconds({"epoch": 2, "seconds": 5.0}) == 15.0


def test_reports_without_a_distance_are_not_judged():
    """The real-only baseline trains no GAN."""
    scheduler = new_scheduler()
    trial = SimpleNamespace(trial_id="baseline", config={"stoppable": False, "judged": True})
    assert scheduler.on_trial_result(None, trial, {"epoch": 0, "status": "completed"}) == TrialScheduler.CONTINUE


class ATrial:
    """What Tune hands to its callbacks."""

    def __init__(self, trial_id, error_file=None):
        self.trial_id, self.error_file = trial_id, error_file


@pytest.fixture
def death(tmp_path) -> str:
    """What Tune notes of a process that has died."""
    path = tmp_path / "error.txt"
    notes = "Failure # 1 (at noon)\nno\nFailure # 2 (at night)\nnode died\nclass_name: worker\n"
    path.write_text(notes, encoding="utf-8")
    return str(path)


NODE_DIED = "lost by Ray (1 of 3): node died class_name: worker"
STARTED = {"started_at": "2026-01-01T00:00:00+00:00", "commit": "abc", "versions": "{}", "hardware": "L4"}
MEASURED = {"epoch": 2, "frechet_distance": 250.0, "num_real": 72, "num_fake": 96, "seconds": 5.0, "gan_key": "key"}


def new_bridge(folder, rows=None):
    """A bridge of a search that has its baseline; what it says is in `display.lines`."""
    known = {"baseline-000": {"phase": "baseline", "status": "completed"}}
    search = Search(folder, SMOKE, {}, "pareto", known | (rows or {}), remaining=3)

    def make_task(proposal):
        return Task(folder, folder / "none", proposal.trial_id, proposal.config, 1, 1, {"phase": proposal.phase})

    return Bridge(search, make_task, new_scheduler(), KeptLines())


@pytest.fixture
def bridge(tmp_path):
    return new_bridge(tmp_path)


def start(bridge, tune_id):
    """Tune starts a trial, and its worker notes that."""
    task = bridge.propose(tune_id)["task"]
    task.note_start(STARTED)
    return task


def test_a_trial_that_gets_no_worker_is_named_once(bridge, monkeypatch):
    monkeypatch.setattr("study.cluster.bridge.what_is_free", lambda: "0 of 2 CPUs")
    for name in "abc":
        bridge.propose(name)
    long_ago = time.time() - 200
    for name in "ab":
        proposal, task = bridge.running[name]
        bridge.running[name] = proposal, replace(task, proposed_at=long_ago)
    bridge.running["a"][1].note_start({"started_at": bridge.since.isoformat()})
    bridge.running["b"][1].note_start(STARTED)  # by an earlier command
    for _ in range(2):
        bridge.say_who_waits()
    (line,) = bridge.display.lines
    assert " ".join(line.split()).startswith("paper-001: no worker for 3 min; of Ray 0 of 2 CPUs are free")


def test_ends_of_trials_reach_rows_optuna_and_the_user(bridge, tmp_path, death):
    pruned, lost, _ = (start(bridge, name) for name in "abc")
    for name in "ab":
        bridge.on_trial_result(1, [], ATrial(name), MEASURED)
    bridge.stopping.stopped.add("a")
    bridge.on_trial_complete(1, [], ATrial("a"))
    bridge.on_trial_error(2, [], ATrial("b", death))
    ended = {"trial_id": "paper-002", "status": "completed", "reason": None}  # its worker wrote the row
    ended |= {"frechet_distance": 90.0, "validation_auroc": 0.9}
    for _ in range(2):  # as it ends, and when its run does
        bridge.on_trial_result(3, [], ATrial("c"), {"epoch": 2, "ended": ended})
    bridge.on_trial_complete(3, [], ATrial("c"))

    trials = read_trials(tmp_path).set_index("trial_id")
    assert trials["status"].to_dict() == {"paper-000": "pruned", "paper-001": "failed"}
    assert trials["reason"].tolist() == ["stopped by ASHA at GAN epoch 2", NODE_DIED]
    assert trials.loc["paper-000", ["frechet_distance", "gan_epoch", "num_fake"]].tolist() == [250.0, 2, 96]
    assert trials["saved_seconds"].fillna(0).tolist() == [15.0, 0.0]
    for name, value in {**STARTED, "gan_key": "key", "gan_seconds": 5.0, "gan_epoch": 2}.items():
        assert trials[name].tolist() == [value, value], name
    assert not pruned.checkpoints.exists() and lost.checkpoints.exists()
    states = [trial.state for trial in bridge.proposer.study.trials]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]
    assert bridge.counts == {"completed": 1, "pruned": 1, "failed": 1}
    assert [line.split()[:3] for line in bridge.display.lines[1:]] == [
        ["[1/3]", "paper-000", "pruned"], ["[2/3]", "paper-001", "failed:"], ["[3/3]", "paper-002", "completed"]
    ]  # fmt: skip


def test_a_trial_lost_to_a_machine_runs_three_times(tmp_path, death):
    for run in (1, 2, 3):
        bridge = new_bridge(tmp_path, rows_of(tmp_path))
        assert start(bridge, "a").trial_id == "paper-000"
        bridge.on_trial_error(1, [], ATrial("a", death))
        assert rows_of(tmp_path)["paper-000"]["reason"].startswith(f"lost by Ray ({run} of 3): node died")
    bridge = new_bridge(tmp_path, rows_of(tmp_path))
    assert bridge.proposer.study.trials[0].state == TrialState.FAIL
    assert start(bridge, "a").trial_id == "paper-001"


def rows_of(study) -> dict[str, dict]:
    """As a command reads them: without their empty columns."""
    return {row["trial_id"]: row.dropna().to_dict() for _, row in read_trials(study).iterrows()}


def test_a_measurement_is_said_once(tmp_path):
    """A reused GAN's reports come again, in this command or in one that goes on with the study."""
    said = MEASURED | {"gan_key": "known"}
    Task(tmp_path, tmp_path, "paper-000", SMOKE, 1, 1, {}).write_history(
        [{"stage": "gan", **{name: said[name] for name in ("gan_key", "epoch", "frechet_distance")}}]
    )
    bridge = new_bridge(tmp_path)
    for name in "ab":
        bridge.propose(name)
        for result in (said, MEASURED, MEASURED | {"epoch": 4, "seconds": 10.0}):
            bridge.on_trial_result(1, [], ATrial(name), result)
    assert bridge.display.lines == [
        "      paper-000 GAN epoch 2 of 30  Frechet 250.0, ~70 s left",
        "      paper-000 GAN epoch 4 of 30  Frechet 250.0, ~65 s left",
    ]
    assert bridge.measured["b"]["epoch"] == 4, "of the row of a trial that is stopped"


def test_in_a_terminal_bars_say_the_measurements(bridge, monkeypatch):
    drawn = []
    bridge.display.in_terminal = True
    monkeypatch.setattr(bridge.display, "study", drawn.append)
    monkeypatch.setattr("study.cluster.bridge.free_orphans", lambda: None)
    task = start(bridge, "a")
    task.write_history([{"stage": "gan", "epoch": 2, "seconds": 5.0, "frechet_distance": 250.0, "gan_key": "key"}])
    bridge.since = datetime.fromisoformat(STARTED["started_at"])
    bridge.on_trial_result(1, [], ATrial("a"), MEASURED)
    for _ in range(2):  # not at each of Tune's steps
        bridge.on_step_end(1, [])
    ((search,),) = drawn
    assert not bridge.display.lines and [(one.trial_id, one.epoch) for one in search.running] == [("paper-000", 2)]


def test_error_after_the_last_end_changes_nothing(bridge, tmp_path, death):
    bridge.propose("a")
    ended = {"trial_id": "paper-000", "status": "completed", "reason": None}
    bridge.on_trial_result(1, [], ATrial("a"), {"epoch": 2, "ended": ended})
    bridge.on_trial_error(1, [], ATrial("a", death))
    assert bridge.counts == {"completed": 1, "pruned": 0, "failed": 0} and read_trials(tmp_path).empty


def test_workers_lost_too_often_give_the_last_line_of_their_trace(bridge, tmp_path):
    bridge.propose("a")
    error = "Training failed due to worker errors:\nTraceback (most recent call last):\n  File ...\nValueError: why\n"
    bridge.on_trial_result(1, [], ATrial("a"), {"error": error})
    assert read_trials(tmp_path)["reason"].tolist() == ["lost by Ray (1 of 3): ValueError: why"]
    assert [trial.state for trial in bridge.proposer.study.trials] == [TrialState.FAIL]


def test_trial_cut_short_by_an_interruption_leaves_no_row(bridge, tmp_path):
    bridge.propose("a")
    bridge.on_trial_result(1, [], ATrial("a"), MEASURED)
    bridge.on_trial_complete(1, [], ATrial("a"))
    assert read_trials(tmp_path).empty
    assert [trial.state for trial in bridge.proposer.unfinished()] == [TrialState.RUNNING]
