"""One command at a time works on a study, on whichever machine.

The lock is the kernel's (flock), which a killed command gives back by itself. A shared folder may keep flock to each
machine; so the holder also leaves its name and touches it every few seconds, and a command on another machine waits
for such a sign of life before it takes over what a lost machine left behind.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from study.errors import ConfigError
from study.storage.checkpoint import write_atomically

HEARTBEAT_S = 3.0
WRITE_S = 60.0  # longer than any file takes to write


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's folder; ConfigError naming the holder when another command does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / "driver.lock", timeout=0), folder / "driver.json"
    try:
        held = lock.acquire()
    except Timeout:
        raise ConfigError(refusal(folder, read_holder(holder))) from None
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
    return f"another command is at work on {folder}: {who}; wait, or choose another study"


def read_holder(holder: Path) -> dict:
    """Host, process and time of who holds the study, or {} where nobody has said so."""
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        stored = json.loads(holder.read_text(encoding="utf-8"))
        return {name: stored[name] for name in ("host", "pid", "since")}
    return {}


def is_held_elsewhere(holder: Path) -> bool:
    """Whether the holder that is named there is on another machine and gives a sign of life.

    Times are compared with each other only, never with this machine's clock.
    """
    if read_holder(holder).get("host", socket.gethostname()) == socket.gethostname():
        return False  # then the kernel's lock has decided
    before = last_beat(holder)
    time.sleep(3 * HEARTBEAT_S)
    return last_beat(holder) not in (before, None)


def last_beat(holder: Path) -> int | None:
    with suppress(FileNotFoundError), open(holder, "rb") as file:  # opening asks the server, a bare stat may not
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def beat(holder: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # a sign less; the next one may come through
            os.utime(holder)


def remove_leftovers(folder: Path, before: float) -> None:
    """Remove what killed writers left in a study: temporary files last written before the time `before`."""
    places = [folder, *(place for place in folder.glob("*/") if place.name != "ray")]  # Ray's files are its own
    for place in places:
        for path in place.glob(".tmp-*") if place == folder else place.rglob(".tmp-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
