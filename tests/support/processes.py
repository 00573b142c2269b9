"""The processes below another, as the tests look at them."""

import psutil

from study.cluster.facts import family


def descendants(pid: int) -> set[int]:
    """A process and all below it; empty where it has ended."""
    return {process.pid for process in family(psutil.Process(pid))} if psutil.pid_exists(pid) else set()


def command_of(pid: int) -> str:
    """Program and arguments; empty where the process has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
