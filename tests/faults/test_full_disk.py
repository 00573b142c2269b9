"""A disk that is full: a clear error, the old content whole, nothing half-written left, and a study that goes on."""

import os
import resource
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
import torch
from optuna.trial import TrialState
from PIL import Image

from data_utils.parquet_file import read_table as read_prepared
from data_utils.parquet_file import write_table as write_prepared
from results.tables.schema import HISTORY
from results.tables.store import read_history, write_rows
from study import run_sweep
from study.cluster.bridge import Bridge, StopBadGans
from study.config import make_config
from study.gan.sampling import sample_grid
from study.search.proposer import Proposal
from study.search.stopping import Halving
from study.storage.atomic import write_atomically
from study.storage.checkpoint import save_checkpoint
from study.storage.faults import storage_fault
from study.storage.sealed import read_json, write_json
from study.storage.tensors import read_tensors, write_tensors
from study.training.workers import load_checkpoint
from study.trial.execute import execute
from study.trial.record import Task
from tests.support.display import KeptLines
from tests.support.studies import PATIENCE_S, ROOT, clean_environment, rows_on_disk, run, states, sweep
from tests.support.trainings import new_search

MEGABYTE = 2**20


class FullDisk:
    """A file system of `size` bytes that can be filled to its last page."""

    def __init__(self, folder):
        self.folder, self.filler = folder, folder / "filler"

    @contextmanager
    def full(self):
        self.fill()
        try:
            yield
        finally:
            self.filler.unlink()

    def fill(self):
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass


class SizeLimit(FullDisk):
    """The nearest thing without root: no file may grow beyond a few bytes."""

    @contextmanager
    def full(self):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path):
    """A mounted file system of one megabyte; skips where mounting is not allowed."""
    with mounted(tmp_path / "disk", "1m") as disk:
        yield disk


@contextmanager
def mounted(folder, size: str):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    try:
        yield FullDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["mounted", "limited"])
def disk(request, tmp_path):
    return request.getfixturevalue("small_disk") if request.param == "mounted" else SizeLimit(tmp_path)


def weights(number: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((20_000,), float(number))}


def history(number: int) -> list[dict]:
    return [{"trial_id": "a", "epoch": number, "seconds": float(row)} for row in range(2_000 * number)]


def prepared(number: int) -> dict:
    columns = {name: ["text"] for name in ("group", "split", "image_id", "content_hash")}
    return columns | {"image": [os.urandom(20_000)], "label": [number]}


WRITERS = {  # write(folder, number) and read(folder) -> the number
    "checkpoint": (
        lambda folder, number: save_checkpoint(folder, number, {"epoch": number} | weights(number)),
        lambda folder: load_checkpoint(folder, "cpu")["epoch"],
    ),
    "table": (
        lambda folder, number: write_rows(folder / "history" / "a.parquet", history(number), HISTORY),
        lambda folder: read_history(folder)["epoch"].unique().item(),
    ),
    "prepared photographs": (
        lambda folder, number: write_prepared(folder / "p.parquet", prepared(number), {}),
        lambda folder: read_prepared(folder / "p.parquet")[0]["label"][0].as_py(),
    ),
    "tensors": (
        lambda folder, number: write_tensors(folder / "t.safetensors", weights(number), "weights"),
        lambda folder: read_tensors(folder / "t.safetensors")[0]["weights"][0],
    ),
    "json": (
        lambda folder, number: write_json(folder / "r.json", {"numbers": [number] * 9_000}),
        lambda folder: read_json(folder / "r.json")["numbers"][0],
    ),
    "leaderboard": (
        lambda folder, number: write_atomically(folder / "l.csv", b"%d\n" % number * 9_000),
        lambda folder: int((folder / "l.csv").read_text(encoding="utf-8").split()[0]),
    ),
    "samples": (
        lambda folder, number: sample_grid(torch.full((16, 3, 32, 32), number).byte(), folder / "s.png", 8),
        lambda folder: Image.open(folder / "s.png").getpixel((5, 5))[0],
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_content_stays_and_nothing_else(disk, name):
    write, read = WRITERS[name]
    write(disk.folder, 1)
    before = set(disk.folder.rglob("*"))
    with disk.full():
        with pytest.raises(OSError) as caught:
            write(disk.folder, 2)
        assert storage_fault(caught.value)
        assert set(disk.folder.rglob("*")) - {disk.filler} == before
        assert read(disk.folder) == 1
    write(disk.folder, 2)
    assert read(disk.folder) == 2


def test_optuna_goes_on_after_a_full_disk(small_disk):
    search = new_search(small_disk.folder, ended=["baseline-000"])
    asked = [search.ask() for _ in range(3)]
    search.tell(0, "completed", {"frechet_distance": 1.0, "validation_auroc": 0.9})
    with small_disk.full(), pytest.raises(Exception) as caught:
        for _ in range(100):
            search.ask()  # SQLite may have a page left
    assert storage_fault(caught.value)
    again = new_search(small_disk.folder, ended=["baseline-000", "paper-000"])
    assert [again.ask() for _ in asked[1:]] == asked[1:]
    assert again.study.trials[0].values == [1.0, 0.9]


@pytest.mark.usefixtures("one_thread", "pixel_quality")
def test_a_trial_is_not_finished_by_a_full_disk(small_disk, prepared_phantoms, tiny_settings):
    def task(folder):
        config = make_config(tiny_settings)
        return Task(folder, prepared_phantoms.path, "paper-000", config, 1, 1, {"phase": "paper"})

    def fill(entry):
        if entry["stage"] == "classifier":
            small_disk.fill()

    cut_short, device = task(small_disk.folder / "study"), torch.device("cpu")
    with pytest.raises(OSError, match="No space left") as caught:
        execute(cut_short, fill, device)
    assert "No space left on device" in storage_fault(caught.value)
    assert cut_short.read_row() is None and len(list(cut_short.checkpoints.glob("*.pt"))) == 1
    assert not list(small_disk.folder.rglob(".tmp-*"))
    small_disk.filler.unlink()
    continued = execute(cut_short, lambda entry: None, device)
    unbroken = execute(task(small_disk.folder / "other"), lambda entry: None, device)
    assert not continued["gan_reused"] and cut_short.read_row()["status"] == "completed"
    for name in ("frechet_distance", "validation_auroc", "test_auroc", "threshold"):
        assert continued[name] == unbroken[name]


# ---- the study stops, and says why


class Broken:
    """A search whose disk fails."""

    def __init__(self, folder, error):
        self.folder, self.error = folder, error

    def ask(self):
        raise self.error

    tell = ask


def new_bridge(search, display=None) -> Bridge:
    return Bridge(search, list, StopBadGans(Halving(8, 1)), display or KeptLines())


@pytest.fixture
def told_to_stop():
    """The signals by which Tune is told to end."""
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGUSR1, before)


def test_the_driver_stops_in_good_order(tmp_path, told_to_stop):
    bridge = new_bridge(Broken(tmp_path, OSError(28, "No space left on device")), display := KeptLines())
    assert bridge.propose("one") is None
    assert told_to_stop == [signal.SIGUSR1] and "No space left on device" in bridge.fault and not display.lines


def test_a_row_that_cannot_be_written_stops_the_driver(tmp_path, told_to_stop, monkeypatch):
    config = make_config({})
    task = Task(tmp_path, tmp_path, "search-004", config, 1, 1, {})
    bridge = new_bridge(Broken(tmp_path, AssertionError("told although it has no row")))
    bridge.running["one"] = Proposal("search-004", "search", 4, config), task
    monkeypatch.setattr(Task, "write_row", lambda *_: Broken(tmp_path, OSError(28, "No space left on device")).ask())
    bridge.end_without_worker("one", "pruned", "stopped", {})
    assert told_to_stop and bridge.fault and not any(bridge.counts.values())


def test_other_errors_are_not_taken_for_the_disks(tmp_path):
    assert storage_fault(ValueError("batch of 0 images")) is None
    with pytest.raises(KeyError):
        new_bridge(Broken(tmp_path, KeyError("x"))).propose("one")


def test_the_command_names_the_way_out(tmp_path, capsys, monkeypatch):
    fault = OSError(28, "No space left on device", str(tmp_path / "study.json"))
    monkeypatch.setattr("study.commands.sweep.run", lambda options: Broken(tmp_path, fault).ask())
    assert run_sweep.main(["--trials", "1"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "No space left on device" in message and "study.json" in message and "--resume" in message
    assert len(message.splitlines()) <= 4 and "Traceback" not in message


# ---- the real command


@pytest.fixture
def roomy_disk(tmp_path):
    """A mounted folder with the room that a study asks for."""
    with mounted(tmp_path / "disk", "2g") as disk:
        yield disk.folder


def shrink(folder) -> None:
    """Leave not a page of room; filling it would take the memory that a file system in memory has."""
    def resized() -> bool:
        used = os.statvfs(folder)
        size = (used.f_blocks - used.f_bfree) * used.f_frsize
        return subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], capture_output=True).returncode == 0

    while not resized():  # a file was written meanwhile
        pass


def sweep_until_full(command: list[str], study) -> tuple[int, str]:
    """Run, and fill the disk once the first row is there; the exit code and what was printed."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), **streams) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not rows_on_disk(study) and time.monotonic() < deadline:
                assert process.poll() is None, f"ended before its first row:\n{process.communicate()[0]}"
                time.sleep(0.1)
            shrink(study.parent)
            return process.wait(PATIENCE_S), process.communicate()[0]
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
def test_a_study_stops_on_a_full_disk_and_goes_on_when_there_is_room(roomy_disk):
    """What Ray has left in the study's folder is destroyed before it goes on: none of it is read back."""
    command, study = sweep(roomy_disk, 3), roomy_disk / "sample-smoke"
    code, printed = sweep_until_full(command, study)
    assert code == 2 and "Traceback" not in printed, printed
    said = " ".join(printed.rpartition("error: ")[2].split())
    assert "a disk error stopped the study" in said and "--resume" in said
    assert "No space left on device" in said or "disk is full" in said  # SQLite's words for it
    before = rows_on_disk(study)
    assert 1 <= len(before) < 4
    subprocess.run(["mount", "-o", "remount,size=2g", str(roomy_disk)], check=True)
    for path in (study / "ray").rglob("*"):
        if path.is_file():
            path.write_bytes(b"destroyed")
    resumed = run([*command, "--resume"])
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = rows_on_disk(study)
    assert before.items() <= after.items() and len(after) == 4
    assert states(study) == {TrialState.COMPLETE: 3}
