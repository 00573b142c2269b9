"""What the doctor checks, each check made to fail, and the doctor itself on this machine."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image

from study import doctor
from study.cluster.checks import (
    MIN_FREE_DISK,
    Check,
    check_clocks,
    check_data,
    check_disk,
    check_gpus,
    check_ports,
    check_storage,
    check_token,
    check_versions,
    node_checks,
    pins,
    refuse_unfit_nodes,
    survey,
)
from study.cluster.facts import Gpu, NodeFacts, examine, listeners, lock_holds, versions
from study.commands.doctor import (
    check_photographs,
    check_prepared,
    check_weights,
    newest_prepared,
)
from study.errors import ConfigError
from study.flags.parsers import doctor_parser

ROOT = Path(__file__).resolve().parents[2]
OUT = Path("/mnt/study")
PINS = {"torch": "2.15.0"}
HERE = {"Python": "3.11.7", "code": "abc"}
GOOD = NodeFacts(
    versions=HERE | {"torch": "2.15.0+cu130"},
    written="a",
    storage_error=None,
    free_disk={"/mnt/study": 100 * 2**30},
    prepared_digest="d1",
    token_file=Path("/home/u/.ray/auth_token"),
    token_mode=0o600,
    lock_holds=True,
    clock=1000.0,
)
GPU = Gpu("L4", 22 * 2**30, 23 * 2**30)


def two_nodes(**of_second) -> dict[str, NodeFacts]:
    return {"10.0.0.1": GOOD, "10.0.0.2": replace(GOOD, written="b", **of_second)}


CHECKS = {
    "versions": lambda nodes: check_versions(nodes, HERE, PINS),
    "storage": lambda nodes: check_storage(nodes, OUT),
    "disk": check_disk,
    "data": lambda nodes: check_data(nodes, OUT / "f.parquet", "d1"),
    "clocks": lambda nodes: check_clocks(nodes, asked=999.9, answered=1000.1),
    "token": lambda nodes: check_token(nodes, is_demanded=True, started_here=False),
}


@pytest.mark.parametrize("name", CHECKS)
def test_nodes_that_are_alike_pass(name):
    assert CHECKS[name](two_nodes()).ok is True


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("versions", {"versions": HERE | {"torch": "2.14.1"}}, "10.0.0.2 has torch 2.14.1, not 2.15.0"),
        ("versions", {"versions": HERE | {"torch": "missing"}}, "10.0.0.2 has torch missing"),
        ("versions", {"versions": GOOD.versions | {"Python": "3.12.1"}}, "Python 3.12.1, not 3.11.7"),
        ("versions", {"versions": GOOD.versions | {"code": "xyz"}}, "code xyz, not abc"),
        ("storage", {"storage_error": "No such file or directory"}, "10.0.0.2 cannot write: No such file"),
        ("storage", {"unseen": ("a",)}, "10.0.0.2 does not see what 10.0.0.1 wrote"),
        ("storage", {"lock_holds": False}, "10.0.0.2 takes a lock"),
        ("disk", {"free_disk": {"/tmp": MIN_FREE_DISK - 1}}, "GiB free in /tmp of 10.0.0.2"),
        ("data", {"prepared_digest": "d2"}, "10.0.0.2 reads another content"),
        ("data", {"prepared_digest": None}, "10.0.0.2 cannot read "),
        ("clocks", {"clock": 990.0}, "10.0.0.2 is 10 s off"),
        ("clocks", {"clock": 1010.0}, "10.0.0.2 is 10 s off"),
        ("token", {"token_mode": 0o644}, "auth_token of 10.0.0.2 has mode 0644"),
    ],
)
def test_a_node_that_differs_fails(name, changed, words):
    check = CHECKS[name](two_nodes(**changed))
    assert check.ok is False and words in check.found and check.fix


def test_all_nodes_may_differ_from_this_process():
    nodes = {"10.0.0.1": replace(GOOD, versions=GOOD.versions | {"code": "xyz"}, prepared_digest="d2")}
    assert not CHECKS["versions"](nodes).ok and not CHECKS["data"](nodes).ok


def test_nothing_prepared_is_no_failure():
    assert check_data(two_nodes(), None, None).ok is None


@pytest.mark.parametrize(
    ("gpus", "ok"),
    [
        ({"a": None}, None),
        ({"a": None, "b": [GPU, GPU]}, True),
        ({"a": [GPU], "b": []}, False),  # a driver, but torch cannot use the GPU
        ({"a": [GPU, replace(GPU, free=2**30)]}, False),
    ],
)
def test_gpus(gpus, ok):
    assert check_gpus(gpus).ok is ok


@pytest.mark.parametrize(
    ("demanded", "started_here", "exposed", "token_ok", "ports_ok"),
    [
        (True, True, [], True, True),
        (True, True, ["raylet 0.0.0.0:80"], True, False),  # one machine has no need to be reached
        (True, False, ["raylet 0.0.0.0:80"], True, True),
        (False, False, ["raylet 0.0.0.0:80"], False, False),
        (False, True, [], True, True),
    ],
)
def test_strangers(demanded, started_here, exposed, token_ok, ports_ok):
    assert check_token(two_nodes(), demanded, started_here).ok is token_ok
    assert check_ports({"10.0.0.1": exposed}, demanded, started_here).ok is ports_ok


# ---- what a node finds out about itself


def ask_here(function, *arguments) -> dict:
    return {"here": function(*arguments)}


def test_this_machine_is_fit(tmp_path, prepared_phantoms):
    found = survey(ask_here, tmp_path, prepared_phantoms.path)
    assert [(check.name, check.ok) for check in node_checks(found, tmp_path, prepared_phantoms.path)] == [
        ("versions", True), ("storage", True), ("disk", True), ("same data", True), ("clocks", True),
    ]  # fmt: skip
    assert not list(tmp_path.iterdir())  # nothing is left behind


def ask_two(function, probe, *arguments) -> dict:
    """Node b has another disk than node a."""
    elsewhere = probe.parent / "other disk" / probe.name
    return {"a": function(probe, *arguments), "b": function(elsewhere, *arguments)}


def test_a_node_without_the_shared_folder_stops_the_study(tmp_path, prepared_phantoms):
    with pytest.raises(ConfigError, match="storage: b cannot write: No such file or directory; --out must lie on"):
        refuse_unfit_nodes(ask_two, tmp_path, prepared_phantoms.path)


def test_a_node_with_a_folder_of_its_own_does_not_see_the_others(tmp_path):
    def ask_with_folder(function, probe, *arguments) -> dict:
        (tmp_path / "other disk" / probe.name).mkdir(parents=True, exist_ok=True)
        return ask_two(function, probe, *arguments)

    nodes = survey(ask_with_folder, tmp_path, None).nodes
    assert nodes["a"].unseen == (nodes["b"].written,) and nodes["b"].unseen == (nodes["a"].written,)
    assert nodes["a"].lock_holds and not nodes["b"].lock_holds


def test_a_node_that_joins_between_the_questions_is_left_out(tmp_path):
    names = iter((["a"], ["a", "late"]))
    found = survey(lambda function, *given: {name: function(*given) for name in next(names)}, tmp_path, None)
    assert list(found.nodes) == ["a"]


def test_a_lock_that_nobody_holds_does_not_hold(tmp_path):
    assert not lock_holds(tmp_path / "lock")


def test_token_file_of_the_environment_is_looked_at(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert examine(tmp_path / "probe", [], None).token_mode == 0o644


def test_versions_are_those_installed():
    found = versions(["torch", "no-such-package"])
    assert found["torch"].partition("+")[0] == pins()["torch"] and found["no-such-package"] == "missing"
    assert all("[" not in name for name in pins())


def test_listeners_of_this_process():
    with socket.create_server(("0.0.0.0", 0)) as wide, socket.create_server(("127.0.0.1", 0)) as narrow:
        ports = {one.port: one.is_loopback for one in listeners([psutil.Process()])}
        assert ports[wide.getsockname()[1]] is False and ports[narrow.getsockname()[1]] is True


# ---- the doctor


def test_a_check_fits_on_the_screen():
    lines = str(Check("storage", False, "word " * 40, "fix " * 40)).splitlines()
    assert lines[0].startswith("FAIL  storage        word") and max(map(len, lines)) <= 80
    assert any(line.startswith("      to mend it     fix") for line in lines)


def test_photographs_and_prepared_data(phantom_folder, prepared_phantoms, tmp_path):
    def photographs(*arguments):
        return check_photographs(doctor_parser().parse_args(list(map(str, arguments))))

    assert photographs().ok is None
    good = photographs("--data", phantom_folder)
    assert good.ok and "96: a folder per class; 1 = infected, 0 = clean" in good.found
    assert photographs("--data", tmp_path).ok is False
    for label in ("infected", "clean"):
        (tmp_path / "few" / label).mkdir(parents=True)
        for number in range(7):
            (tmp_path / "few" / label / f"{number}.jpg").touch()
    assert "7 negative and 7 positive images" in photographs("--data", tmp_path / "few").found
    for name in ("a", "b"):  # photographs with masks, whose patches come when they are decoded
        for kind in ("images", "labels"):
            (tmp_path / "masks" / "train" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64)).save(tmp_path / "masks" / "train" / kind / f"{name}.png")
    assert photographs("--data", tmp_path / "masks").ok is True
    for label in ("infected", "clean"):
        (tmp_path / "phone" / label).mkdir(parents=True)
        (tmp_path / "phone" / label / "IMG_1.heic").touch()
        (tmp_path / "phone" / label / "IMG_2.dng").touch()
    phone = photographs("--data", tmp_path / "phone")
    assert "0 negative and 0 positive images" in phone.found and ".dng" in str(phone)
    assert check_prepared(newest_prepared(tmp_path)).ok is None
    assert check_prepared(prepared_phantoms.path).ok is True
    damaged = tmp_path / "f.parquet"
    damaged.write_bytes(prepared_phantoms.path.read_bytes()[:-9])
    assert check_prepared(damaged).ok is False


def test_doctor_on_this_machine(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run(
        [sys.executable, "study/doctor.py", "--out", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= 24
    passed = {line.split()[1] for line in lines if line.startswith("pass")}
    assert {"Ray", "versions", "storage", "disk", "clocks", "token", "ports"} <= passed


def test_silent_cluster_is_one_line_and_this_machine_is_checked(tmp_path, capsys):
    assert doctor.main(["--out", str(tmp_path), "--address", "127.0.0.1:1"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  Ray            no Ray cluster answers at 127.0.0.1:1" in output
    assert "pass  storage" in output and output.endswith("1 failed\n")


@pytest.mark.parametrize(("mode", "demanded"), [("token", True), ("disabled", False)])
def test_token_is_demanded_where_a_stranger_is_refused(mode, demanded):
    code = (
        "from study.cluster.private import token_is_demanded; import ray; "
        "ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False); print(token_is_demanded())"
    )
    environment = os.environ | {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "0" * 64, "RAY_TMPDIR": "/tmp"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == [str(demanded)], run.stderr


@pytest.mark.parametrize("installed", [True, False])
def test_inceptions_weights_are_read_where_a_study_would_find_them(tmp_path, monkeypatch, installed):
    monkeypatch.setattr("study.commands.doctor.has_inception", lambda weights: installed)
    built = []
    monkeypatch.setattr("study.commands.doctor.build_feature_extractor", lambda name, weights: built.append(name))
    found = check_weights(tmp_path / "none").found
    assert ("inception" in built) == installed and ("no FID" in found) != installed
