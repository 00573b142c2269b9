"""Workers of a trial are killed, twenty times: it goes on from its checkpoint, and comes to the same numbers."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import psutil
import pytest

from study.cluster.slots.slot import ONE_ARENA, WORKER_FAILURES
from tests.support.processes import command_of, descendants, wait_until
from tests.support.studies import PATIENCE_S, ROOT, clean_environment, rows_on_disk, run, sweep
from tests.support.trainings import weights

KILLS = 20
GAN_EPOCHS, CLASSIFIER_EPOCHS = 20, 12
LONGER = (f"gan_epochs={GAN_EPOCHS}", "gan_eval_interval=2", f"classifier_epochs={CLASSIFIER_EPOCHS}")
MEASURED_ANEW = ("second", "peak_memory_bytes", "started_at", "command", "study")


def command(out: Path, name: str) -> list[str]:
    """The baseline and two trials, each on two workers."""
    settings = [word for assignment in LONGER for word in ("--set", assignment)]
    return sweep(out, 2, "--workers-per-trial", "2", *settings, "--name", name)


def workers(driver: int) -> list[int]:
    return [pid for pid in descendants(driver) if command_of(pid).startswith("ray::RayTrainWorker")]


def progress(study: Path) -> int:
    """Epochs with a checkpoint, of the trial that runs: the GAN's, then the classifier's."""
    trained = {path.parent for path in study.glob("gans/*/result.json")}
    if len(trained) < len(rows_on_disk(study)):  # of which one is the baseline's
        return newest_epoch(path for path in study.glob("gans/*/checkpoint-*.pt") if path.parent not in trained)
    return GAN_EPOCHS + newest_epoch(study.glob("checkpoints/*/checkpoint-*.pt"))


def newest_epoch(checkpoints: Iterable[Path]) -> int:
    return max((int(path.name.split("-")[1]) for path in checkpoints), default=0)


def role(pid: int) -> str:
    """Of a worker that trains a GAN: the first one holds the GAN's lock."""
    links = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(entry.path))
        except OSError:
            continue
    return "first" if any(link.endswith("/lock") for link in links) else "other"


def kill_workers(driver: subprocess.Popen, study: Path, kills: int, lots: random.Random) -> list[tuple[str, int, str]]:
    """Kill one worker at a time until `kills` have died; (trial, progress, role) of each.

    Each trial is hit as often as it is allowed to fail, at progresses drawn beforehand; first and other worker take
    turns.
    """
    done = []
    while len(done) < kills:
        trial = len(rows_on_disk(study))
        places = sorted(lots.uniform(0, GAN_EPOCHS + CLASSIFIER_EPOCHS - 4) for _ in range(WORKER_FAILURES))
        for place in places[: kills - len(done)] if trial else ():  # the baseline trains no GAN
            wait_until(lambda place=place: len(workers(driver.pid)) == 2 and progress(study) >= place, driver)
            time.sleep(lots.uniform(0, 0.3))
            victims = {role(pid): pid for pid in workers(driver.pid)}
            who = ("first", "other")[len(done) % 2]
            victim = victims.get(who, victims["other"])
            os.kill(victim, signal.SIGKILL)
            done.append((f"trial {trial}", progress(study), who if len(victims) == 2 else "either"))
            wait_until(lambda victim=victim: victim not in workers(driver.pid), driver)
        wait_until(lambda trial=trial: len(rows_on_disk(study)) > trial, driver)
    return done


def comparable(study: Path) -> pd.DataFrame:
    """The rows, without what is measured anew each time."""
    trials = pd.read_parquet(study / "trials").set_index("trial_id").sort_index()
    return trials[[name for name in trials if not any(part in name for part in MEASURED_ANEW)]]


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE_S)
def test_killed_workers_cost_no_bit(tmp_path):
    whole = run(command(tmp_path, "whole"))
    assert whole.returncode == 0, whole.stdout + whole.stderr
    driver = subprocess.Popen(
        command(tmp_path, "hit"), cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    started = time.monotonic()
    try:
        wait_until(lambda: len(workers(driver.pid)) == 2, driver)
        for pid in workers(driver.pid):
            assert psutil.Process(pid).environ().items() >= ONE_ARENA.items()  # or they would not keep freed memory
        kills = kill_workers(driver, tmp_path / "hit", KILLS, random.Random(0))
        code, printed = driver.wait(PATIENCE_S), driver.communicate()[0]
    finally:
        driver.kill()
    assert code == 0 and "3 completed, 0 pruned, 0 failed, 0 not finished" in printed, printed
    print(f"\n{len(kills)} workers killed in {time.monotonic() - started:.0f} s: {Counter(who for *_, who in kills)}")
    print(*kills, sep="\n")
    pd.testing.assert_frame_equal(comparable(tmp_path / "hit"), comparable(tmp_path / "whole"), check_exact=True)
    gans = sorted(path.name for path in (tmp_path / "whole" / "gans").iterdir())
    assert len(gans) == 2 and sorted(path.name for path in (tmp_path / "hit" / "gans").iterdir()) == gans
    for gan in gans:
        hit, unbroken = (weights(tmp_path / name / "gans" / gan / "generator.safetensors") for name in ("hit", "whole"))
        assert hit == unbroken
