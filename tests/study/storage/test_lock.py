"""Only one command at a time works on a study."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from study.cluster.facts import lock_holds
from study.errors import ConfigError
from study.storage import lock as study_lock
from study.storage.lock import hold

ROOT = Path(__file__).resolve().parents[3]
HOLDER = "import sys, time; from pathlib import Path; from study.storage.lock import hold\n"
HOLDER += "with hold(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """Another command that holds the study."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_command_is_refused_at_once_and_told_who_holds_the_study(tmp_path, holder):
    started = time.monotonic()
    with pytest.raises(ConfigError) as refused, hold(tmp_path):
        pass
    assert time.monotonic() - started < 5
    who = rf"another command is at work on {re.escape(str(tmp_path))}: process {holder.pid} on {socket.gethostname()} "
    assert re.search(who + r"since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", str(refused.value))


def test_a_killed_command_releases_the_study(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / "driver.json").read_text(encoding="utf-8"))["pid"] == holder.pid
    with hold(tmp_path):
        assert json.loads((tmp_path / "driver.json").read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not (tmp_path / "driver.json").exists()


def test_a_study_can_be_held_again(tmp_path):
    for _ in range(2):
        with hold(tmp_path), pytest.raises(ConfigError, match=f"process {os.getpid()}"), hold(tmp_path):
            pass


# ---- a shared folder whose locks stay on each machine


@pytest.fixture
def other_machine(tmp_path, monkeypatch):
    """The name that a command on another machine left; beats may follow."""
    monkeypatch.setattr(study_lock, "HEARTBEAT_S", 0.1)
    file = tmp_path / "driver.json"
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "2025-01-01T00:00:00+00:00"}), encoding="utf-8")
    return file


def test_a_living_command_on_another_machine_keeps_the_study(other_machine):
    stop = threading.Event()
    beating = threading.Thread(target=study_lock.beat, args=(other_machine, stop))
    beating.start()
    try:
        with pytest.raises(ConfigError, match="process 1 on elsewhere since 2025"), hold(other_machine.parent):
            pass
    finally:
        stop.set()
        beating.join()
    assert json.loads(other_machine.read_text(encoding="utf-8"))["host"] == "elsewhere"


def test_the_lock_of_a_lost_machine_is_taken_over(other_machine):
    with hold(other_machine.parent):
        assert json.loads(other_machine.read_text(encoding="utf-8"))["host"] == socket.gethostname()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}'])
def test_a_damaged_holder_file_is_ignored(tmp_path, content):
    (tmp_path / "driver.json").write_text(content, encoding="utf-8")
    with hold(tmp_path):
        pass


# ---- what killed writers leave


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    an_hour_ago, names = time.time() - 3600, ("trials/.tmp-a", "gans/key/.tmp-b", ".tmp-c", "ray/x/.tmp-d", "trials/e")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half", encoding="utf-8")
        os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    (tmp_path / "trials" / ".tmp-being-written").write_text("half", encoding="utf-8")
    with hold(tmp_path):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left - {"driver.lock", "driver.json"} == {"ray/x/.tmp-d", "trials/e", "trials/.tmp-being-written"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    """Without flock filelock would make a marker file, which outlives a killed command."""

    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ConfigError, match=r"file system without locks; choose an --out"), hold(tmp_path):
        pass
    assert not (tmp_path / "driver.json").exists() and not lock_holds(tmp_path / "driver.lock")
