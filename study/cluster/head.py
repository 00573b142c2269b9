"""Watches Ray's head: a command whose Ray has ended ends too, soon and with a line.

Ray itself would wait a minute and leave a trace.

A signal to a whole process group (`timeout`, a batch system) ends a local Ray together with its driver.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from results.text import wrap

SILENCE_S = {"at work": 30, "interrupted": 2}  # a network may hesitate
EXIT_LOST, EXIT_INTERRUPTED = 1, 130
FAREWELL = (
    "error: Ray has stopped; trials that had ended are kept, the others have their checkpoints: give the command "
    "again (run_sweep.py with --resume)"
)


def leave_with_head(
    address: str, interrupts: list[int], is_joined: Callable[[], bool], clear: Callable[[], None]
) -> None:
    """From now on, end this process soon after Ray's head at host:port stops answering.

    Nothing is lost by that: all that a resumption needs is on disk. `interrupts` is not empty once the user wants the
    command to end; `is_joined` tells whether the process still belongs to that Ray, or has left it by itself; `clear`
    takes away what stands in the terminal below the last line.
    """
    arguments = (address, interrupts, is_joined, clear)
    threading.Thread(target=watch, args=arguments, daemon=True, name="watch of Ray's head").start()


def watch(
    address: str, interrupts: list[int], is_joined: Callable[[], bool], clear: Callable[[], None]
) -> None:
    heard = time.monotonic()
    while time.monotonic() - heard < SILENCE_S["interrupted" if interrupts else "at work"]:
        time.sleep(0.5)
        if not is_joined():
            return
        if answers(address):
            heard = time.monotonic()
    clear()
    print(wrap(FAREWELL), file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(EXIT_INTERRUPTED if interrupts else EXIT_LOST)


def answers(address: str, timeout: float = 2.0) -> bool:
    """Whether something accepts connections at host:port, within `timeout` seconds."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, ValueError):
        return False
    return True
