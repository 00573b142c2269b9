"""How a command runs: its exit code and its error messages. Imports nothing slow, for `--help`."""

import importlib
import sys
import tempfile
from pathlib import Path

from results.text import EXIT_BROKEN_PIPE, error_text, leave_standard_output
from study.errors import ConfigError, StorageFault
from study.flags import parsers

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # as a shell gives it for Ctrl-C
PARSERS = {
    "sweep": parsers.sweep_parser, "status": parsers.status_parser, "confirm": parsers.confirm_parser,
    "audit": parsers.audit_parser, "reproduce": parsers.reproduce_parser, "doctor": parsers.doctor_parser,
    "export": parsers.export_parser, "benchmark": parsers.benchmark_parser,
}  # fmt: skip


def run_command(name: str, arguments: list[str] | None = None) -> int:
    """Parse the command line, then import `study.commands.<name>`, which takes seconds, and run it.

    Returns the exit code.
    """
    options = PARSERS[name]().parse_args(arguments)
    again = "run the same command again" + (", with --resume if the study exists" if name == "sweep" else "")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal need not be UTF-8
    try:
        code = importlib.import_module(f"study.commands.{name}").run(options)
        sys.stdout.flush()  # whether somebody reads it is known only now
        return code
    except BrokenPipeError:
        leave_standard_output()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:  # once trials run, the launcher handles the first Ctrl-C
        print(f"interrupted; finished trials are kept; to continue, {again}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        mistake = users_mistake(error, again)
        if mistake is None:
            raise
        print_error(mistake)
        return EXIT_USER_ERROR


def users_mistake(error: Exception, again: str) -> Exception | None:
    """What to tell the user about an error that the user can mend; None for a fault of the program."""
    if isinstance(error, ConfigError) and not isinstance(error, StorageFault):
        return error
    from optuna.exceptions import StorageInternalError  # the command has imported all of these by now

    from data_utils.errors import DataError
    from models.feature_extractor import ExtractorUnavailable
    from results.tables.store import TableError
    from study.storage.faults import storage_fault

    if isinstance(error, (OSError, StorageInternalError, StorageFault)):
        if isinstance(error, PermissionError) and error.filename:
            return ConfigError(f"{error.filename}: {error.strerror}; ask its owner, or work on a copy of the study")
        kept = f"finished trials are kept: free space or repair the disk, then {again}"
        return (fault := storage_fault(error)) and StorageFault(f"a disk error stopped the study: {fault}; {kept}")
    return error if isinstance(error, (DataError, TableError, ExtractorUnavailable)) else None


def print_error(error: Exception) -> None:
    """Print to standard error what the user has to mend."""
    print(error_text(error), file=sys.stderr)


def make_folder(path: Path) -> Path:
    """Create the folder `--out`; returns its absolute path. ConfigError if it cannot be written."""
    path = path.expanduser().absolute()  # Ray's workers start in another folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error.strerror}); choose another folder") from None
