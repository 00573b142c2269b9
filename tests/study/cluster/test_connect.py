"""Connecting to Ray, as far as it goes without starting it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.cluster.connect import (
    connect,
    hide_token,
    local_options,
    new_private_folder,
    on_loopback_alone,
    refuse_silent_address,
    start_here,
)
from study.errors import ConfigError


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:x", "127.0.0.1:99999", ":"])
def test_silent_address_is_refused(address):
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}"):
        connect(address)


def test_rays_client_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(ConfigError, match=r"10001 \(RAY_ADDRESS\) is Ray's client.*--address HOST:PORT"):
        connect(None)


def test_a_folder_for_ray_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/missing")
    with pytest.raises(ConfigError, match="RAY_TMPDIR=/missing is no folder; make it"):
        local_options()


@pytest.fixture
def on_this_machine(monkeypatch, tmp_path):
    """What `connect` sets does not outlive the test."""
    for name in ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("study.cluster.connect.new_private_folder", lambda place: tmp_path)
    monkeypatch.setattr("study.cluster.private.ray_constants.ENABLE_RAY_CLUSTER", True)


@pytest.mark.usefixtures("on_this_machine")
@pytest.mark.parametrize("error", [RuntimeError("no"), Exception("\nThe last 20 lines of dashboard.log")])
def test_ray_that_does_not_start_is_told(monkeypatch, error):
    tries = []

    def fail(*arguments, **options):
        tries.append(arguments)
        raise error

    monkeypatch.setattr("study.cluster.connect.ray.init", fail)
    with pytest.raises(ConfigError, match=f"Ray could not be started here: {str(error).strip()} It was tried 3 times"):
        connect(None)
    assert tries == 3 * [("local",)]


@pytest.mark.usefixtures("on_this_machine")
def test_ray_that_was_too_slow_is_started_again_and_leaves_no_process(monkeypatch, capsys):
    processes = []

    def init(*arguments, **options):
        processes.append(subprocess.Popen(["sleep", "60"]))
        if len(processes) == 1:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("study.cluster.connect.ray.init", init)
    try:
        start_here()
        assert len(processes) == 2 and "started again" in capsys.readouterr().out
        assert processes[0].wait(10) == -signal.SIGKILL and processes[1].poll() is None
    finally:
        processes[-1].kill()
        processes[-1].wait()


def test_folders_of_rays_that_have_ended_are_removed(tmp_path):
    make = "import sys; from pathlib import Path; from study.cluster.connect import new_private_folder as new; "
    make += "print(new(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", make, str(tmp_path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    alive, killed = (Path(process.stdout.readline().strip()) for process in started)
    started[1].kill()
    started[1].communicate()
    (tmp_path / "ray-of-another-program").mkdir()
    own = new_private_folder(tmp_path)
    try:
        assert sorted(tmp_path.iterdir()) == sorted([alive, own, tmp_path / "ray-of-another-program"])
        assert killed not in (alive, own) and own.stat().st_mode & 0o777 == 0o700
    finally:
        started[0].communicate("")


def test_nothing_of_another_users_is_opened(tmp_path, monkeypatch):
    (tmp_path / "ray-trap").mkdir()
    os.mkfifo(tmp_path / "ray-trap" / "lock")  # whoever opens it waits for ever
    monkeypatch.setattr("study.cluster.connect.os.getuid", lambda: -1)
    assert new_private_folder(tmp_path).is_dir() and (tmp_path / "ray-trap" / "lock").exists()


def test_address_that_accepts_connections_passes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        refuse_silent_address(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_ray_of_another_command_is_found_on_loopback(monkeypatch):
    """And one that the machine's own address answers for is left to Ray."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        for own, alone in (("127.0.0.2", False), ("127.0.0.3", True)):
            monkeypatch.setattr("study.cluster.connect.ray.util.get_node_ip_address", lambda own=own: own)
            assert on_loopback_alone(f"127.0.0.1:{port}") is on_loopback_alone(f"localhost:{port}") is alone
            assert not on_loopback_alone(f"127.0.0.2:{port}") and not on_loopback_alone("auto")


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
def test_an_address_from_the_environment_that_leads_nowhere_is_named(monkeypatch, address):
    monkeypatch.setattr("study.cluster.connect.ray_on_this_machine", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS gave {address}.*Unset RAY_ADDRESS"):
        connect(None)
    assert time.monotonic() - started < 20


def test_settings_of_other_programs_do_not_reach_ray():
    environment = os.environ | {"RAY_TRAIN_V2_ENABLED": "0", "TUNE_RESULT_DIR": "/nowhere", "RAY_TMPDIR": "/tmp"}
    environment.pop("RAY_RAYLET_PID", None)
    names = ("RAY_TRAIN_V2_ENABLED", "TUNE_RESULT_DIR", "RAY_TMPDIR")
    code = f"import os, study.cluster; print(*map(os.environ.get, {names}))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "None", "/tmp"]


def test_a_temporary_folder_too_deep_for_sockets_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("d" * 100)))
    with pytest.raises(ConfigError, match=r"RAY_TMPDIR=.* is too long.* such as /tmp"):
        local_options()


@pytest.mark.parametrize("home", ["no home", "a home that is a file"])
def test_without_a_home_the_token_lies_in_rays_own_folder(monkeypatch, tmp_path, home):
    (tmp_path / "home").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if home == "no home":
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    hide_token(tmp_path)
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent == tmp_path and token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64


def test_a_temporary_folder_too_deep_for_pythons_sockets_is_left_alone(monkeypatch, tmp_path):
    for name, value in {"TMPDIR": "/tmp/long", "HOME": str(tmp_path), "RAY_TMPDIR": "/tmp"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("study.cluster.connect.new_private_folder", lambda place: tmp_path)
    monkeypatch.setattr("study.cluster.connect.tempfile.gettempdir", lambda: "/tmp/long")
    local_options()
    assert os.environ["TMPDIR"] == "/tmp/long"
    monkeypatch.setattr("study.cluster.connect.tempfile.gettempdir", lambda: "/tmp/" + "x" * 150)
    local_options()
    assert os.environ["TMPDIR"] == str(tmp_path)
