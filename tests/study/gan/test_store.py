"""Each GAN is trained once, also if several trials need it or the trial that trains it is killed."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch

from data_utils.dataset import load_dataset
from study.config import make_config
from study.gan.folder import GanFolder
from study.gan.step import GanTraining
from study.gan.store import drop_stopped, gan_folder, obtain_gan
from study.storage.checkpoint import save_checkpoint
from study.trial.record import Task
from tests.support.features import PixelQuality
from tests.support.trainings import untimed

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")

DEADLINE = 120  # seconds, for another process to start and to train
ENDS_WELL, IS_KILLED = {"seed": 0, "gan_epochs": 3}, {"seed": 1, "gan_epochs": 3}


def wait_for(condition) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the other process did not get there"
        time.sleep(0.02)


def hold(settings: dict, prepared, folder) -> None:
    """Another process: after its first report it waits, as the holder of the GAN, until `go-<seed>` exists."""
    torch.set_num_threads(1)
    pytest.MonkeyPatch().setattr("study.gan.train.GanQuality", PixelQuality)
    dataset = load_dataset(prepared, 32)
    for changes in (ENDS_WELL, IS_KILLED):
        seed, reports = changes["seed"], []

        def report(entry, seed=seed, reports=reports):
            reports.append(untimed(entry))
            (folder / f"holding-{seed}").touch()
            wait_for((folder / f"go-{seed}").exists)

        _, metrics, reused = obtain_gan(make_config(settings | changes), dataset, report, folder / "gans", "holder")
        (folder / f"ended-{seed}").write_text(json.dumps([metrics, reused, reports]), encoding="utf-8")


@pytest.fixture(scope="module")
def holder(tiny_settings, prepared_phantoms, tmp_path_factory):
    """The other process and the folder both work in."""
    folder = tmp_path_factory.mktemp("store")
    arguments = (tiny_settings, prepared_phantoms.path, folder)
    process = multiprocessing.get_context("spawn").Process(target=hold, args=arguments)
    process.start()
    yield process, folder
    process.kill()
    process.join()


@pytest.fixture
def trained_epochs(monkeypatch) -> list[int]:
    """The epochs that this process trains itself."""
    epochs, run_epoch = [], GanTraining.run_epoch

    def counted(training, train, epoch):
        epochs.append(epoch)
        return run_epoch(training, train, epoch)

    monkeypatch.setattr(GanTraining, "run_epoch", counted)
    return epochs


def obtain(settings: dict, dataset, store, trial="search-000") -> tuple[dict, bool, list[dict]]:
    reports = []
    _, metrics, reused = obtain_gan(make_config(settings), dataset, reports.append, store, trial)
    return metrics, reused, list(map(untimed, reports))


class Waiter(threading.Thread):
    """Asks for a GAN that another process holds."""

    def __init__(self, *arguments):
        super().__init__(daemon=True)
        self.arguments, self.result = arguments, None

    def run(self):
        self.result = obtain(*self.arguments)


def wait_behind(folder, seed: int, *arguments) -> Waiter:
    wait_for((folder / f"holding-{seed}").exists)
    waiter = Waiter(*arguments)
    waiter.start()
    waiter.join(0.5)
    assert waiter.is_alive(), "it went ahead although another process trains this GAN"
    return waiter


def test_two_trials_at_once_train_a_gan_once(holder, phantoms, tiny_settings, trained_epochs):
    _, folder = holder
    waiter = wait_behind(folder, 0, tiny_settings | ENDS_WELL, phantoms, folder / "gans")
    (folder / "go-0").touch()
    waiter.join(DEADLINE)
    metrics, reused, reports = waiter.result
    assert not trained_epochs and reused
    wait_for((folder / "ended-0").exists)
    wait_for((folder / "ended-0").read_text)
    assert json.loads((folder / "ended-0").read_text(encoding="utf-8")) == [metrics, False, reports]
    assert [entry["epoch"] for entry in reports] == [1, 2, 3]


def test_another_trial_continues_the_gan_of_a_killed_one(holder, phantoms, tiny_settings, trained_epochs, tmp_path):
    process, folder = holder
    (folder / "go-0").touch()
    waiter = wait_behind(folder, 1, tiny_settings | IS_KILLED, phantoms, folder / "gans")
    os.kill(process.pid, signal.SIGKILL)
    waiter.join(DEADLINE)
    metrics, reused, reports = waiter.result
    assert trained_epochs == [2, 3] and not reused  # the first epoch is the killed one's
    expected = obtain(tiny_settings | IS_KILLED, phantoms, tmp_path)
    assert (untimed(metrics), reused, reports) == (untimed(expected[0]), False, expected[2])


def test_a_reused_gan_repeats_its_result_and_reports(phantoms, tiny_settings, tmp_path, trained_epochs):
    first = obtain(tiny_settings, phantoms, tmp_path)
    changed = tiny_settings | {"classifier_lr": 1e-4, "synthetic_ratio": 0.5}
    second = obtain(changed, phantoms, tmp_path, "search-001")
    assert trained_epochs == [1, 2]
    assert (first[0], False, first[2]) == first and second == (first[0], True, first[2])
    assert first[0]["frechet_recent"] == first[2][-1]["frechet_distance"], "the last quarter of two epochs"
    assert obtain(tiny_settings, phantoms, tmp_path) == first, "its worker died after the GAN was trained"
    (path,) = tmp_path.iterdir()
    folder = GanFolder(path)
    assert set(path.iterdir()) - {folder.lock} == {folder.generator, folder.samples, folder.result}


def test_each_gan_has_its_own_folder(phantoms, tiny_settings, tmp_path):
    def folder(fingerprint="data", **changes):
        dataset = replace(phantoms, fingerprint=fingerprint)
        return gan_folder(make_config(tiny_settings | changes), dataset, tmp_path).path

    folders = [folder(), folder(lstm_depth=2), folder(seed=1), folder(fingerprint="other data")]
    assert len(set(folders)) == 4
    assert folder(classifier_lr=0.5) == folder()


def test_checkpoints_of_stopped_and_diverged_gans_are_deleted_and_no_others(tmp_path, tiny_settings):
    config = make_config(tiny_settings)
    trials = [
        ("search-000", "stopped", "pruned"), ("search-001", "stopped", "pruned"), ("search-002", "went on", "pruned"),
        ("search-003", "went on", "completed"), ("search-004", "lost", "failed"), ("search-005", "diverged", "failed"),
        ("search-006", "goes on", "pruned"),
    ]  # fmt: skip
    for name, key, status in trials:
        task = Task(tmp_path, tmp_path, name, config, 1, 1, {})
        reasons = {"lost": "lost by Ray (3 of 3): node died", "diverged": "GAN diverged: critic loss is 1e9 in epoch 3"}
        task.write_row(status, reasons.get(key), {} if key == "diverged" else {"gan_key": key})
        if key in ("diverged", "goes on"):
            task.write_history([{"stage": "gan", "epoch": 1, "gan_key": key, "seconds": 1.0}])
    Task(tmp_path, tmp_path, "search-007", config, 1, 1, {}).write_history(
        [{"stage": "gan", "epoch": 1, "gan_key": "goes on", "seconds": 1.0}]
    )
    for key in ("stopped", "went on", "lost", "diverged", "goes on", "without a row"):
        save_checkpoint(tmp_path / "gans" / key, 1, {"epoch": 1})
    drop_stopped(tmp_path)
    kept = {path.parent.name for path in tmp_path.glob("gans/*/checkpoint-*.pt")}
    assert kept == {"went on", "lost", "goes on", "without a row"}
