"""The sweep's command in this process, with Ray stood in for."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import run_sweep
from study.cluster import connect as ray_cluster
from study.cluster.resources import Machine
from study.search.space import generator_side

PER_CLASS = 24


def photograph(seed: int) -> Image.Image:
    """A smooth random pattern: no two look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


@pytest.fixture
def photographs(tmp_path):
    """A folder per class, 24 wounds each: what is right before it is made wrong."""
    for label, name in enumerate(("clean", "infected")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            wound = label * PER_CLASS + number
            photograph(wound).save(tmp_path / "data" / name / f"wound{wound:02}_1.png")
    return tmp_path / "data"


class Command:
    """The command with its `--out` below a temporary folder."""

    def __init__(self, out: Path, capsys):
        self.out, self.capsys = out, capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        try:
            code = run_sweep.main(["--out", str(self.out), "--systems", "none", *map(str, arguments)])
        except SystemExit as exit:  # argparse
            code = exit.code
        return code, *self.capsys.readouterr()

    def refused(self, *arguments: str | Path) -> str:
        """What the refusal says, in one line, once it has been held to its form."""
        code, _, message = self(*arguments)
        assert code == 2 and "Traceback" not in message
        message = " ".join(message.split())
        assert message.startswith("error: ") or "run_sweep.py: error: " in message
        return message.split("error: ", 1)[1]

    def studies(self) -> list[Path]:
        return list(self.out.glob("*/study.json"))


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Ray is stood in for: a machine with two CPUs, on which nothing may be run."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster.ray, "init", lambda *a, **k: pytest.fail("Ray was started"))
    monkeypatch.setattr(sys, "argv", ["study/run_sweep.py"])
    return Command(tmp_path / "out", capsys)


def pretend_to_run(search, make_task, resources, time_budget, announce):
    """In the place of Ray: every trial ends at once and writes a row."""
    while proposal := search.ask():
        result = {"validation_auroc": 0.75, "test_auroc": 0.7, "started_at": "2025-01-01T00:00:00+00:00"}
        if proposal.config.uses_gan:
            result |= {"frechet_distance": 90.0, "gan_key": str(generator_side(proposal.config.model_dump()))}
        task = make_task(proposal)
        task.write_row("completed", None, result)
        search.tell(proposal.number, "completed", result | {"trial_id": proposal.trial_id})


@pytest.fixture
def small_machine(command, monkeypatch):
    """Ray answers, with two CPUs and no GPU, and trials cost nothing."""
    monkeypatch.setattr("study.cluster.start.connect", lambda address: [Machine(2, 0.0)])
    monkeypatch.setattr("study.cluster.start.ask_nodes", lambda ask, *arguments: {"this machine": ask(*arguments)})
    monkeypatch.setattr("study.cluster.driver.run_trials", pretend_to_run)
