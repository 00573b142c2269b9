"""The real command on photographs full of planted names: nobody can reach it, and nothing of them gets out."""

import http.client
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import pytest

from study.cluster.facts import Listener, listeners
from study.cluster.private import STRANGER
from tests.support.planted import PATIENT, leaks, plant
from tests.support.processes import command_of, descendants

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "gan_epochs=1", "gan_eval_interval=1", "eval_images=16", "critic_steps=1", "decoder_width=16", "critic_width=8",
    "measure_fid=false", "lstm_width=8", "classifier_epochs=1", "classifier_width=8", "classifier_lstm_width=8",
)  # fmt: skip
PATIENCE_S = 400  # a busy machine takes several times the minute of a free one
TRAIN_WORKER = "ray::RayTrainWorker"
RUNS_CODE = ("/api/jobs/", "/api/job_agent/jobs/", "/get_or_create_runtime_env", "/api/packages/gcs/x")


@dataclass
class Watched:
    """A finished command and what was seen of it while it ran."""

    out: Path
    ray: Path  # the folder of Ray's own files
    code: int | None = None
    printed: str = ""
    listeners: set[Listener] = field(default_factory=set)
    knocks: dict[str, int] = field(default_factory=dict)  # exit code by what the caller had
    answers: dict[tuple[int, str], int] = field(default_factory=dict)  # HTTP status by port and path
    of_ray: dict[str, bool] = field(default_factory=dict)  # Ray's actors by name: whether torch is in memory

    @property
    def study(self) -> Path:
        return self.out / "folders-smoke"


def watch(base: Path, *more: str) -> Watched:
    """Run the command on planted photographs and look at its sockets all the time."""
    command = [sys.executable, "study/run_sweep.py", "--preset", "smoke", "--trials", "1", "--out", str(base / "out")]
    command += ["--data", str(plant(base / "photographs")), "--image-ids", str(base / f"{PATIENT}.csv"), *more]
    command += ["--systems", "none", *(word for assignment in TINY for word in ("--set", assignment))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    printed = base / "printed"
    with open(printed, "w", encoding="utf-8") as file:  # a pipe that nobody reads would fill up
        streams = {"stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, cwd=ROOT, env=environment | {"RAY_TMPDIR": str(base)}, **streams)
    deadline = time.monotonic() + PATIENCE_S
    try:
        watched = Watched(base / "out", base)
        while process.poll() is None:
            if time.monotonic() > deadline:
                alive = "\n".join(command_of(pid) for pid in descendants(process.pid))
                pytest.fail(f"not done after {PATIENCE_S} s\n{text_of(printed)}\nstill alive:\n{alive}")
            watched.listeners |= listeners([psutil.Process(process.pid)])
            if not watched.knocks and any(TRAIN_WORKER in one.command for one in watched.listeners):
                knock(watched)
            for name, has_torch in of_ray(process.pid):
                watched.of_ray[name] = has_torch or watched.of_ray.get(name, False)
            time.sleep(0.5)  # to look costs a tenth of a core, which the command needs
        watched.code, watched.printed = process.returncode, text_of(printed)
        return watched
    finally:
        if process.poll() is None:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def text_of(printed: Path) -> str:
    return printed.read_text(encoding="utf-8", errors="replace")


def of_ray(command: int) -> Iterator[tuple[str, bool]]:
    """Ray's actors below this process, and whether each has torch in memory."""
    for pid in descendants(command):
        if name := re.match(r"ray::\w+", command_of(pid)):
            with suppress(OSError):  # it has ended
                yield name[0], "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def knock(watched: Watched) -> None:
    """Try every door as a stranger, one as a user with the token."""
    (gcs,) = [one.port for one in watched.listeners if "gcs_server" in one.command.split()[0]]
    with tempfile.TemporaryDirectory() as home:
        stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": home}
        callers = {
            "nothing": stranger,
            "a wrong token": stranger | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "the token": stranger | {"RAY_AUTH_MODE": "token", "HOME": os.environ["HOME"]},
        }
        command = [sys.executable, "-c", STRANGER, f"127.0.0.1:{gcs}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        knocking = {name: subprocess.Popen(command, env=environment, **quiet) for name, environment in callers.items()}
        watched.knocks = {name: process.wait(PATIENCE_S / 4) for name, process in knocking.items()}
    for port in {one.port for one in watched.listeners}:
        for path in RUNS_CODE:
            watched.answers[port, path] = status(f"http://127.0.0.1:{port}{path}")


def status(url: str) -> int:
    """Of a POST without a token; 0 where it is not answered as HTTP."""
    try:
        with urllib.request.urlopen(url, b"{}", timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids="{}-worker".format)
def watched(request):
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as base:
        yield watch(Path(base), "--workers-per-trial", str(request.param))


@pytest.mark.timeout(2 * PATIENCE_S)
def test_the_study_itself_succeeds(watched):
    assert watched.code == 0, watched.printed
    assert len(pd.read_parquet(watched.study / "trials")) == 2


@pytest.mark.timeout(2 * PATIENCE_S)
def test_nothing_listens_beyond_loopback(watched):
    parts = ("gcs_server", "raylet", "ray::DashboardAgent", TRAIN_WORKER, "run_sweep.py")
    unseen = [part for part in parts if not any(part in one.command for one in watched.listeners)]
    assert not unseen
    assert [one for one in watched.listeners if not one.is_loopback] == []


@pytest.mark.timeout(2 * PATIENCE_S)
def test_of_a_slot_only_the_workers_load_torch_and_three_helpers_are_not_there(watched):
    assert watched.of_ray[TRAIN_WORKER]
    assert not watched.of_ray["ray::Mailbox"] and not watched.of_ray["ray::TrainController"]
    assert not watched.of_ray.get("ray::Slot") and not watched.of_ray.get("ray::ResourceTrainable")
    left_out = {"ray::PlacementGroupCleaner", "ray::DatasetManager", "ray::_AutoscalingCoordinatorActor"}
    assert not watched.of_ray.keys() & left_out


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_stranger_on_the_machine_is_refused(watched):
    assert {name: code == 0 for name, code in watched.knocks.items()} == {
        "nothing": False, "a wrong token": False, "the token": True,
    }  # fmt: skip
    assert set(watched.answers.values()) >= {401}
    assert {door: code for door, code in watched.answers.items() if code not in (0, 401, 403, 404, 405)} == {}


@pytest.mark.timeout(2 * PATIENCE_S)
def test_only_the_owner_enters_rays_folder_and_reads_its_token(watched):
    (folder,) = watched.ray.glob("ray-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((Path.home() / ".ray" / "auth_token").stat().st_mode) == 0o600


@pytest.mark.timeout(2 * PATIENCE_S)
def test_nothing_of_a_patient_is_written(watched):
    """Tables, history, checkpoints, pictures, the prepared file, Optuna's file, Ray's logs, the report."""
    assert subprocess.run([sys.executable, "results/report.py", str(watched.study)], cwd=ROOT).returncode == 0
    written = [path for path in watched.out.rglob("*") if path.is_file()]
    assert {"optuna.db", "report.html", "salt", "samples.png"} <= {path.name for path in written}
    assert leaks(watched.out) == [] and leaks(next(watched.ray.glob("ray-*"))) == []
    assert len(leaks(watched.ray / "photographs")) > 300  # they are found where they are


@pytest.mark.timeout(2 * PATIENCE_S)
def test_the_salt_and_the_names_of_files_are_private(watched):
    salt, names = watched.out / "prepared" / "salt", watched.ray / f"{PATIENT}.csv"
    assert stat.S_IMODE(salt.stat().st_mode) == stat.S_IMODE(names.stat().st_mode) == 0o600
    secret = salt.read_bytes()
    elsewhere = [path.read_bytes() for path in watched.ray.rglob("*") if path.is_file() and path != salt]
    assert not any(secret in content or secret.hex().encode() in content for content in elsewhere)
