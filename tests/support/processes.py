"""The processes below another, as the tests look at them, and waiting while one works."""

import subprocess
import time
from collections.abc import Callable

import psutil

from study.cluster.facts import family
from tests.support.studies import PATIENCE_S


def descendants(pid: int) -> set[int]:
    """A process and all below it; empty where it has ended."""
    return {process.pid for process in family(psutil.Process(pid))} if psutil.pid_exists(pid) else set()


def command_of(pid: int) -> str:
    """Program and arguments; empty where the process has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait for a condition while a process works, which must not end by itself before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"ended by itself:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
