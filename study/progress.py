"""Lines of progress, and of what went wrong."""

import sys
import time

from results.leaderboard import printable


class Announcer:
    """Prints lines with the time since the start."""

    def __init__(self):
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        print(f"{minutes:3d}:{seconds:02d} {printable_lines(text)}", flush=True)


def print_error(error: Exception) -> None:
    """Say on the error stream what a user has to mend."""
    print(printable_lines(f"error: {error}"), file=sys.stderr)


def printable_lines(text: str) -> str:
    """The lines of a text, which may hold names from data or an error's message; none of it steers the terminal."""
    return "\n".join(map(printable, text.split("\n")))
