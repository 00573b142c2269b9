"""Only one command at a time works on a study, whichever machine it runs on.

The lock is the kernel's (flock), which releases it when the command is killed. On some shared folders flock acts on one
machine only. The holder therefore also writes `driver.json` and touches it every few seconds; a command on another
machine waits for such a touch before it takes over the lock of a machine that was lost.
"""

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from study.errors import ConfigError
from study.storage.atomic import write_atomically

# Without flock filelock would make a marker file, which stays when its holder is killed.
kernel_lock = partial(FileLock, fallback_to_soft=False)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what a file system without flock answers
HEARTBEAT_S = 3.0
WRITE_S = 60.0  # longer than any file takes to write


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's folder. Raises ConfigError, naming the holder, while another command holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = kernel_lock(folder / "driver.lock", timeout=0), folder / "driver.json"
    try:
        held = lock.acquire()
    except Timeout:
        raise ConfigError(refusal(folder, read_holder(holder))) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise ConfigError(
            f"{folder} is on a file system without locks; choose an --out on another disk (Lustre has them where it is "
            "mounted with -o flock)"
        ) from None
    with held:
        if is_held_elsewhere(holder):
            raise ConfigError(refusal(folder, read_holder(holder)))
        since = datetime.now(UTC).isoformat(timespec="seconds")
        us = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        write_atomically(holder, json.dumps(us).encode())
        remove_leftovers(folder, holder.stat().st_mtime - WRITE_S)
        stop = threading.Event()
        beating = threading.Thread(target=beat, args=(holder, stop), daemon=True)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            holder.unlink(missing_ok=True)


def refusal(folder: Path, holder: dict) -> str:
    who = "process {pid} on {host} since {since}".format(**holder) if holder else "a command that has just started"
    return f"another command is at work on {folder}: {who}; wait until it has ended, or choose another study"


def read_holder(holder: Path) -> dict:
    """Host, process and start time of the command that holds the study; {} where the file is missing or damaged."""
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        stored = json.loads(holder.read_text(encoding="utf-8"))
        return {name: stored[name] for name in ("host", "pid", "since")}
    return {}


def command_at_work(folder: Path) -> dict:
    """`read_holder` of the command that works on a study, {} where none does. Takes no lock, so it refuses nobody."""
    found, holder = read_holder(folder / "driver.json"), folder / "driver.json"
    if found.get("host") != socket.gethostname():
        return found if found and is_held_elsewhere(holder) else {}
    with suppress(psutil.NoSuchProcess):  # a number is used again, by a process that began later
        if psutil.Process(found["pid"]).create_time() <= datetime.fromisoformat(found["since"]).timestamp() + 1:
            return found
    return {}


def is_held_elsewhere(holder: Path) -> bool:
    """Whether the named holder runs on another machine and is alive, that is, touches its file.

    The file's times are compared with each other and not with this machine's clock, which may differ.
    """
    if read_holder(holder).get("host", socket.gethostname()) == socket.gethostname():
        return False  # the kernel's lock has decided already
    before, deadline = last_beat(holder), time.monotonic() + 3 * HEARTBEAT_S
    while (now := last_beat(holder)) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    return now not in (before, None)


def last_beat(holder: Path) -> int | None:
    with suppress(FileNotFoundError), open(holder, "rb") as file:  # unlike stat, opening asks the file server
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def beat(holder: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # the next touch may succeed
            os.utime(holder)


def remove_leftovers(folder: Path, before: float) -> None:
    """Remove temporary files that killed commands left in a study, if they were last written before `before`."""
    places = [folder, *(place for place in folder.glob("*/") if place.name != "ray")]  # Ray looks after its own files
    for place in places:
        for path in place.glob(".tmp-*") if place == folder else place.rglob(".tmp-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
