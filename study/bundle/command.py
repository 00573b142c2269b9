"""Runs the commands that use a bundle. They need neither torch nor Ray, so nothing here imports more than they do."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from results.text import EXIT_BROKEN_PIPE, error_text, leave_standard_output
from study.errors import ConfigError

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def run_with_bundle(work: Callable[[], int]) -> int:
    """The exit code of `work`; a user's mistake or a fault of the disk is told in a line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal need not be UTF-8
    try:
        code = work()
        sys.stdout.flush()  # whether somebody reads it is known only now
        return code
    except ConfigError as error:
        print(error_text(error), file=sys.stderr)
    except BrokenPipeError:  # whoever read the output has ended
        leave_standard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.strerror is None:
            raise
        print(error_text(f"{error.filename or 'the disk'}: {error.strerror}"), file=sys.stderr)
    except ModuleNotFoundError as error:
        print(error_text(f"{error.name} is not installed here, and this command needs it"), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_USER_ERROR


def bundle_parser(doc: str) -> argparse.ArgumentParser:
    """The command line of a command that opens a bundle; its first line of text is that of `doc`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder that study/export.py wrote")
    return parser
