"""A slot, its mailbox and its workers, as far as they go without starting Ray."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorUnavailableError

from study.cluster.slots import slot, worker
from study.cluster.slots.mailbox import Mailbox
from study.config import make_config, preset
from study.errors import Unheard, Withdrawn
from study.gan.folder import GanFolder
from study.gan.train import train_gan
from study.training.withdrawal import heeding, leave_if_withdrawn
from study.trial.execute import execute
from study.trial.record import Task
from tests.support.trainings import ignore

SMOKE = make_config(preset("smoke"))
CPU = torch.device("cpu")


def test_a_job_is_taken_by_each_worker_once_and_a_withdrawn_one_by_nobody():
    async def play() -> list:
        mailbox = Mailbox()
        await mailbox.give(1, ["a"])
        taken = [await mailbox.take(0), await mailbox.take(0)]  # by a worker, and by the one in its place
        told, next_job = asyncio.ensure_future(mailbox.is_withdrawn(1)), asyncio.ensure_future(mailbox.take(1))
        await asyncio.sleep(0.01)
        assert not told.done() and not next_job.done()
        await mailbox.withdraw(1)
        in_its_place = asyncio.ensure_future(mailbox.take(0))
        await asyncio.sleep(0.01)
        assert told.result() and not next_job.done() and not in_its_place.done()
        await mailbox.give(2, None)
        return [*taken, await next_job, await in_its_place]

    assert asyncio.run(play()) == [(1, ["a"]), (1, ["a"]), (2, None), (2, None)]


def test_workers_that_hear_of_different_jobs_take_the_later_one(monkeypatch):
    taken, others = [], iter([[2, 1], [2, 2]])  # the other worker has the second job first
    monkeypatch.setattr(worker.ray, "get", lambda answer: answer)
    monkeypatch.setattr("study.training.workers.from_all_workers", lambda number: next(others))

    def take(after: int) -> tuple[int, list]:
        taken.append(after)
        return len(taken), [f"job {len(taken)}"]

    mailbox = SimpleNamespace(take=SimpleNamespace(remote=take))
    assert worker.next_job(mailbox, 0) == (2, ["job 2"]) and taken == [0, 1]


def test_a_job_that_was_done_is_not_withdrawn():
    async def play() -> bool:
        mailbox = Mailbox()
        await mailbox.give(1, ["a"])
        told = asyncio.ensure_future(mailbox.is_withdrawn(1))
        await asyncio.sleep(0.01)
        await mailbox.give(2, ["b"])
        return await told

    assert asyncio.run(play()) is False


def a_slot(monkeypatch, reports: list) -> slot.Slot:
    monkeypatch.setattr(slot.ray, "get", lambda report: report)
    made = object.__new__(slot.Slot)
    made.mailbox = SimpleNamespace(get=SimpleNamespace(remote=lambda: reports.pop(0)))
    made.number, made.failures, made.at_work = 7, 0, True
    made.run, made.began = SimpleNamespace(join=lambda: None), 5
    return made


def test_a_slot_hears_the_trial_at_work_alone(monkeypatch):
    reports = [
        {"number": 6, "epoch": 9},  # the last trial's
        {"number": 7, "epoch": 1},
        {"number": 7, "epoch": 1, "ended": {"trial_id": "a"}},
    ]
    one = a_slot(monkeypatch, reports)
    assert [one.step() for _ in range(2)] == [
        {"number": 7, "epoch": 1, "done": False},
        {"number": 7, "epoch": 1, "ended": {"trial_id": "a"}, "done": True},
    ]
    assert not one.at_work


def test_a_trial_survives_ten_deaths_of_workers_and_no_more(monkeypatch):
    deaths = [{"exception": "killed"}] * slot.WORKER_FAILURES
    one = a_slot(monkeypatch, [*deaths, {"number": 7, "epoch": 1}])
    assert one.step() == {"number": 7, "epoch": 1, "done": False}
    one = a_slot(monkeypatch, [*deaths, {"exception": "killed again"}])
    assert one.step() == {"error": "killed again", "done": True}


def test_the_end_of_the_run_loses_the_trial_and_the_next_one_starts_anew(monkeypatch):
    one = a_slot(monkeypatch, [{"over": "no room", "began": 5}])
    assert one.step() == {"error": "no room", "done": True} and not one.at_work


def test_the_end_of_a_run_between_two_trials_is_not_that_of_the_next_run(monkeypatch):
    one = a_slot(monkeypatch, [{"over": "the controller died", "began": 1}, {"number": 7, "epoch": 1}])
    assert one.step() == {"number": 7, "epoch": 1, "done": False} and one.at_work


def test_a_worker_that_the_head_no_longer_hears_leaves_its_trial_unfinished(monkeypatch, tmp_path):
    def unavailable(report):
        raise ActorUnavailableError("failed to connect to all addresses", None)

    def run_until_the_first_report(task, report, device):
        report({"stage": "gan", **dict.fromkeys(worker.MEASUREMENT)})

    mailbox = SimpleNamespace(put=SimpleNamespace(remote=unavailable))
    monkeypatch.setattr(worker, "withdrawal", lambda mailbox, number: threading.Event())
    monkeypatch.setattr("study.trial.execute.execute", run_until_the_first_report)
    task = Task(tmp_path, tmp_path, "paper-000", SMOKE, 1, 1, {})
    with pytest.raises(Unheard, match="failed to connect"):
        worker.work_at(task, 1, mailbox, CPU)


def test_of_several_workers_the_first_one_reports(monkeypatch):
    monkeypatch.setattr(worker.ray, "get", lambda answer: answer)
    for is_first in (True, False):
        heard = []
        monkeypatch.setattr("study.training.workers.is_first_worker", lambda is_first=is_first: is_first)
        worker.tell(SimpleNamespace(put=SimpleNamespace(remote=heard.append)), {"number": 7})
        assert heard == [{"number": 7}] * is_first


# ---- a trial that is stopped


def test_outside_a_job_nothing_is_withdrawn():
    event = threading.Event()
    event.set()
    leave_if_withdrawn(CPU)
    with heeding(event), pytest.raises(Withdrawn):
        leave_if_withdrawn(CPU)
    leave_if_withdrawn(CPU)


@pytest.mark.usefixtures("one_thread", "pixel_quality")
def test_a_withdrawn_training_ends_with_its_epoch(tiny_settings, phantoms, tmp_path):
    config, event, epochs = make_config(tiny_settings | {"gan_epochs": 9}), threading.Event(), []

    def report(entry: dict) -> None:
        epochs.append(entry["epoch"])
        if entry["epoch"] == 2:
            event.set()

    with heeding(event), pytest.raises(Withdrawn):
        train_gan(config, phantoms, report, GanFolder(tmp_path))
    assert epochs == [1, 2]


@pytest.mark.usefixtures("one_thread", "pixel_quality")
@pytest.mark.parametrize("stage", ["gan", "classifier"])
def test_a_withdrawn_trial_leaves_no_row(tiny_settings, prepared_phantoms, tmp_path, stage):
    task = Task(tmp_path, prepared_phantoms.path, "paper-000", make_config(tiny_settings), 1, 1, {"phase": "paper"})
    event = threading.Event()
    with heeding(event), pytest.raises(Withdrawn):
        execute(task, lambda entry: event.set() if entry["stage"] == stage else None, CPU)
    assert task.read_row() is None
    assert execute(task, ignore, CPU)["status"] == "completed"  # the next worker goes on with it
