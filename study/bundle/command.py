"""Runs the commands that use a bundle. They need neither torch nor Ray, so nothing here imports more than they do."""

import sys
from collections.abc import Callable

from study.errors import ConfigError

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def run_with_bundle(work: Callable[[], int]) -> int:
    """The exit code of `work`; a user's mistake or a fault of the disk is told in a line."""
    try:
        return work()
    except ConfigError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
    except OSError as error:
        if error.strerror is None:
            raise
        print(printable(f"error: {error.filename or 'the disk'}: {error.strerror}"), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_USER_ERROR


def printable(text: str) -> str:
    """Text that may hold a file's name, without what would steer the terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
