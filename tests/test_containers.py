"""The Dockerfile and slurm.sh, which cannot be run here as they are: linted, and run with stand-ins."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
STAND_INS = {
    "scontrol": 'echo "$DFU_HEAD"; echo node2',
    "hostname": '[ "$*" = -I ] && echo "${DFU_ADDRESSES:-fd00::1 10.1.2.3 172.17.0.1}"',
    "ray": 'echo "ray $*" >> "$DFU_CALLS"; if [ "$1" = get-auth-token ]; then echo secret > ~/.ray/auth_token; fi',
    # Skips the options of srun itself.
    "srun": 'while [[ "$1" == --* ]]; do shift; done; "$@"',
}


def lint(command: list[str | Path]) -> str:
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stderr
    return run.stdout


def test_the_dockerfile_is_clean(tmp_path):
    assert lint([BIN / "hadolint", "Dockerfile"]) == ""
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python\nRUN pip install torch\n")
    assert {"DL3006", "DL3013"} <= set(re.findall(r"DL\d+", lint([BIN / "hadolint", careless])))


def test_the_script_is_clean(tmp_path):
    assert lint([BIN / "shellcheck", "slurm.sh"]) == ""
    careless = tmp_path / "slurm.sh"
    careless.write_text("#!/bin/bash\nrm $1\n")
    assert "SC2086" in lint([BIN / "shellcheck", careless])


def test_the_image_runs_as_a_user_and_holds_what_it_copies():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\d+)$", text, re.MULTILINE) == ["1000"]
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == sent and all((ROOT / path).exists() for path in sent)


@pytest.fixture
def submit(tmp_path):
    """Runs slurm.sh as `sbatch` does, with stand-ins for Slurm and Ray; returns the process and the calls of Ray."""
    venv = tmp_path / "project" / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "activate").write_text(f'PATH="{tmp_path}/bin:$PATH"\n')
    (tmp_path / "bin").mkdir()
    for name, script in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    shutil.copy(ROOT / "slurm.sh", tmp_path)  # Slurm runs a copy, too

    def run(*arguments: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        slurm = {"SLURM_SUBMIT_DIR": tmp_path / "project", "SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "node[1-2]"}
        slurm |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "16", "DFU_HEAD": "node1"}
        environment = os.environ | {name: str(value) for name, value in slurm.items()}
        environment |= {"HOME": str(tmp_path), "DFU_CALLS": str(tmp_path / "calls")}
        process = subprocess.run([tmp_path / "slurm.sh", *arguments], env=environment, capture_output=True, text=True)
        calls = tmp_path / "calls"
        return process, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_a_job_starts_ray_on_its_nodes_and_the_command_on_the_first(submit, tmp_path):
    process, calls = submit("sweep", "--data", "/shared/my photographs")
    assert process.returncode == 0, process.stderr
    assert calls == [
        "ray get-auth-token --generate",
        "ray symmetric-run --address 10.1.2.3:20007 --min-nodes 2 --num-cpus=16 --disable-usage-stats -- "
        "dfu-study sweep --data /shared/my photographs",
    ]
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_a_head_without_an_address_is_named(submit, monkeypatch):
    monkeypatch.setenv("DFU_ADDRESSES", "fd00::1")
    process, calls = submit("sweep")
    assert process.returncode == 1 and "node1 has no IPv4 address" in process.stderr
    assert calls == ["ray get-auth-token --generate"]


def test_a_job_without_a_command_says_what_to_give(submit):
    process, calls = submit()
    assert process.returncode == 2 and process.stderr.startswith("error: give a command") and calls == []
