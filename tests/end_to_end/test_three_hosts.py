"""`ray up`, a study across three hosts, and what can happen to hosts. Minutes, and root: skipped elsewhere.

The tests are one story and run in order: each goes on with the cluster as the one before has left it.
"""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tests.support import three_hosts
from tests.support.three_hosts import Host, Lab, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(three_hosts.missing_means() is not None, reason=str(three_hosts.missing_means())),
]
TINY = (
    "gan_eval_interval=1", "eval_images=16", "critic_steps=1", "decoder_width=16", "critic_width=8", "lstm_width=8",
    "classifier_epochs=1", "classifier_width=8", "classifier_lstm_width=8",
)  # fmt: skip
STRANGER = "import ray; ray.init('{address}:6379'); print(ray.get(ray.remote(lambda: 'ran').remote()))"
FOUND_OUT_S = 300  # until the head takes a host for lost, with time to spare


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Three hosts with a cluster on them. Asserts that nothing of them is left at the end."""
    with three_hosts.lab(tmp_path_factory.mktemp("lab")) as made:
        made.up()
        yield made
    wait_until(lambda: not three_hosts.left_behind(), 60, "something is left behind")


def words(name: str, trials: int, gan_epochs: int, *more: str) -> list[str]:
    settings = [word for assignment in (*TINY, f"gan_epochs={gan_epochs}") for word in ("--set", assignment)]
    return ["--preset", "smoke", "--name", name, "--systems", "none", "--trials", str(trials), *settings, *more]


def rows(lab: Lab, name: str) -> dict[str, tuple]:
    """Trial id -> when its row was written, and its content."""
    parts = (lab.shared / "runs" / name / "trials").glob("*.parquet")
    return {path.stem: (path.stat().st_mtime_ns, path.read_bytes()) for path in parts}


def ended_well(lab: Lab, name: str, trials: int) -> None:
    """Assert that the baseline and all trials have one complete row each."""
    table = pd.read_parquet(lab.shared / "runs" / name / "trials")
    assert sorted(table["trial_id"]) == ["baseline-000", *(f"paper-{number:03}" for number in range(trials))]
    assert set(table["status"]) == {"completed"}, table[["trial_id", "status", "reason"]].to_string()


def wait_for_training(lab: Lab, process, name: str, host: Host) -> str:
    """Wait until the host trains a GAN that has a checkpoint; returns its key."""
    found = []

    def trains() -> bool:
        assert process.poll() is None, process.communicate()[0]
        locks = host.ssh("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -o 'gans/[^/]*/lock' || true").split()
        gans = [lab.shared / "runs" / name / Path(lock).parent for lock in locks]
        found[:] = [gan.name for gan in gans if list(gan.glob("*.pt"))]
        return bool(found)

    wait_until(trains, 900, f"{host.name} trains nothing")
    return found[0]


def moved(lab: Lab, name: str, gan: str, since: datetime) -> bool:
    """Whether the trial that trained the GAN was ended by a worker that started after `since`."""
    table = pd.read_parquet(lab.shared / "runs" / name / "trials")
    (started,) = table["started_at"][table["gan_key"] == gan]
    return datetime.fromisoformat(started) >= since.replace(microsecond=0)


def test_trial_of_two_workers_spans_two_hosts(lab):
    process, spanned = lab.sweep(*words("spans", 1, 2, "--workers-per-trial", "2")), set()
    while process.poll() is None:
        spanned.add(tuple(host.train_workers() for host in lab.hosts))
    lab.finish(process)
    ended_well(lab, "spans", 1)
    assert spanned & {(1, 1, 0), (1, 0, 1), (0, 1, 1)} and max(map(max, spanned)) == 1


def test_stranger_without_the_token_is_refused(lab):
    command = f"RAY_AUTH_MODE=disabled HOME=/tmp timeout 60 python -c \"{STRANGER.format(address=lab.head.address)}\""
    printed = lab.hosts[1].ssh(f"{command} 2>&1 || true")
    assert "ran" not in printed.splitlines() and "auth" in printed.lower(), printed
    wrong = f"mkdir -p /tmp/.ray; echo {'0' * 64} > /tmp/.ray/auth_token; {command.replace('disabled', 'token')}"
    printed = lab.hosts[1].ssh(f"{wrong} 2>&1 || true")
    assert "ran" not in printed.splitlines() and "auth" in printed.lower(), printed


def test_trials_of_a_host_whose_network_is_cut_move_and_it_comes_back(lab):
    process, host = lab.sweep(*words("cut", 3, 24)), lab.hosts[1]
    gan, then = wait_for_training(lab, process, "cut", host), datetime.now(UTC)
    host.cut()
    lab.wait_for_nodes(2, FOUND_OUT_S)
    lab.finish(process)
    ended_well(lab, "cut", 3)
    assert moved(lab, "cut", gan, then)
    host.cut(False)
    lab.wait_for_nodes(3, FOUND_OUT_S)


def test_trials_of_a_killed_host_move(lab):
    process, host = lab.sweep(*words("killed", 3, 24)), lab.hosts[2]
    gan, then = wait_for_training(lab, process, "killed", host), datetime.now(UTC)
    host.kill()
    lab.finish(process)
    ended_well(lab, "killed", 3)
    assert moved(lab, "killed", gan, then)
    lab.reboot(host)


def test_study_whose_head_is_lost_is_resumed_on_a_new_cluster(lab):
    command = words("headless", 4, 4)
    process = lab.sweep(*command)
    wait_until(lambda: len(rows(lab, "headless")) >= 2, 900, "no trial ends")
    lab.head.kill()
    process.communicate(timeout=120)
    before = rows(lab, "headless")
    assert len(before) < 5, "killed too late"
    lab.reboot(lab.head)
    lab.up()
    lab.finish(lab.sweep(*command, "--resume"))
    assert before.items() <= rows(lab, "headless").items()  # nothing finished was run again
    ended_well(lab, "headless", 4)


def test_down_ends_ray_on_all_hosts(lab):
    lab.down()

    def raylets() -> list[str]:
        return [host.name for host in lab.hosts if host.ssh("pgrep -x raylet || true").strip()]

    wait_until(lambda: not raylets(), 180, "raylets go on without a head")
