"""What the commands in `study/` share: flags, exit codes, progress and errors. Imports nothing slow: for --help."""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from study.config import DEFAULT_SYSTEMS, OBJECTIVES, PRESET_NAMES, SYSTEMS
from study.errors import ConfigError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # as a shell gives it for Ctrl-C
STUDY_HELP = "folder of a study, such as runs/sample-smoke"


def run_command(name: str, options: argparse.Namespace) -> int:
    """Import `study.commands.<name>`, which takes seconds, and run it; returns the exit code."""
    try:
        return importlib.import_module(f"study.commands.{name}").run(options)
    except KeyboardInterrupt:  # once trials run, the first Ctrl-C ends them in good order and does not arrive here
        print("interrupted; finished trials are kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        mistake = users_mistake(error)
        if mistake is None:
            raise
        print_error(mistake)
        return EXIT_USER_ERROR


def users_mistake(error: Exception) -> Exception | None:
    """What to tell the user of an error that the user can mend; None for a fault of the program."""
    from optuna.exceptions import StorageInternalError  # by now the work has imported all of these

    from data_utils.errors import DataError
    from models.feature_extractor import ExtractorUnavailable
    from results.tables.store import TableError
    from study.storage.faults import storage_fault, way_out

    if isinstance(error, (ConfigError, DataError, TableError, ExtractorUnavailable)):
        return error
    fault = storage_fault(error) if isinstance(error, (OSError, StorageInternalError)) else None
    return way_out(fault) if fault else None


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
    from results.leaderboard import printable  # pandas: not for --help

    return "\n".join(map(printable, text.split("\n")))


def sweep_parser() -> argparse.ArgumentParser:
    """Of `study/run_sweep.py`."""
    return _parser(
        FLAGS,
        description="Train GANs and classifiers on foot-ulcer photographs and rank them beside the paper.",
        epilog="Without arguments: a small study on the embedded sample data, on this machine.",
    )


def confirm_parser() -> argparse.ArgumentParser:
    """Of `study/confirm.py`."""
    parser = _parser(
        CONFIRM_FLAGS | {"machines": FLAGS["machines"]},
        description="Re-run the best trials of a search and the paper's over new seeds and arms: with and without "
        "synthetic images, few data, the other split, worse photographs. Then audit the GANs and compare.",
        epilog="Given again, it goes on where it was interrupted.",
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help=STUDY_HELP)
    return parser


def audit_parser() -> argparse.ArgumentParser:
    """Of `study/audit.py`."""
    text = "Audit the GANs of a study: distances, diversity, copying and collapse, skin tones of their images."
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    parser.add_argument("--all", action="store_true", help="audit every completed trial's GAN, not only confirmed ones")
    return parser


def reproduce_parser() -> argparse.ArgumentParser:
    """Of `study/reproduce.py`."""
    text = "Run one stored trial again on this machine, without Ray, and print each metric beside the stored one."
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--best", choices=("auroc", "frechet"), help="the best completed trial, by validation")
    which.add_argument("--trial", metavar="ID", help="the trial of this id")
    return parser


def doctor_parser() -> argparse.ArgumentParser:
    """Of `study/doctor.py`."""
    used = ("--data", "--positive", "--negative", "--group-pattern", "--out", "--address")
    known = {name: settings for group in FLAGS.values() for name, settings in group.items()}
    return _parser(
        {"as for run_sweep.py": {name: known[name] for name in used}},
        description="Check what a study needs: versions, storage, disk, data, clocks and GPUs of every node that is "
        "up, weights, Ray, its token and its ports.",
        epilog="Exit code 0 where no check failed, 1 where one did.",
    )


def _parser(flags: dict[str, dict[str, dict]], description: str, epilog: str) -> argparse.ArgumentParser:
    # `shareable_command` knows flags by their full names
    parser = argparse.ArgumentParser(description=description, epilog=epilog, allow_abbrev=False)
    for title, of_group in flags.items():
        group = parser.add_argument_group(title)
        for name, settings in of_group.items():
            group.add_argument(name, **settings)
    return parser


def duration(text: str) -> float:
    """`90s`, `45m`, `12h` or plain seconds -> seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 45m or 12h") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be greater than zero")
    return seconds


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number that every random generator takes."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def gpu_share(text: str) -> float:
    """A number of GPUs as Ray shares them out: a fraction of one, or whole ones."""
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if not (0 <= gpus < 1 or (gpus > 0 and gpus.is_integer())):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a part of a GPU, such as 0.5, nor a number of GPUs")
    return gpus


def ratios(text: str) -> tuple[float, ...]:
    """`0.5,1,2` -> numbers above 0, at most 10."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.5,1") from None
    if not all(0 < number <= 10 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: each number must be above 0 and at most 10")
    return numbers


def fractions(text: str) -> tuple[float, ...]:
    """`0.1,0.5` -> numbers between 0 and 1; `none` -> no numbers."""
    numbers = () if text == "none" else ratios(text)
    if not all(number < 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: parts of the training groups lie between 0 and 1")
    return numbers


def systems(text: str) -> tuple[str, ...]:
    """`principal,r3gan` -> names of systems; `none` -> no names."""
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; there are: {', '.join(SYSTEMS)}, or none")
    return names


FLAGS = {
    "data": {
        "--data": {
            "type": Path,
            "metavar": "PATH",
            "help": "folder of photographs, or CSV manifest (default: embedded sample data)",
        },
        "--positive": {"metavar": "NAME", "help": "the positive class, where its name does not tell"},
        "--negative": {"metavar": "NAME[,NAME]", "help": "the other class, where there are more than two"},
        "--group-pattern": {
            "metavar": "REGEX",
            "help": "matched at the start of the path below the class folder, or of the file's name; its one group in "
            "parentheses is the patient or wound",
        },
        "--split": {
            "choices": ("grouped", "random", "given"),
            "default": "grouped",
            "help": "random replicates the paper's protocol, with copies of a wound on both sides; given takes the "
            "folders train, validation and test as they are",
        },
        "--split-seed": {"type": seed, "default": 0, "metavar": "N", "help": "seed of the 70:15:15 split (default 0)"},
        "--skip-bad": {"action": "store_true", "help": "leave out files that cannot be decoded, and record how many"},
        "--image-ids": {
            "type": Path,
            "metavar": "CSV",
            "help": "write the salted id of each file there, to name subgroups by; keep it private",
        },
        "--inception-weights": {
            "type": Path,
            "metavar": "PATH",
            "help": "torch-fidelity's Inception weights, for machines without internet; the study then measures FID",
        },
    },
    "search": {
        "--preset": {"choices": PRESET_NAMES, "help": "default: smoke, or search where there is a GPU"},
        "--trials": {"type": count, "metavar": "N", "help": "trials to search; the real-only baseline comes on top"},
        "--time-budget": {"type": duration, "metavar": "TIME", "help": "end the search after this long: 90m, 12h"},
        "--objective": {
            "choices": tuple(OBJECTIVES),
            "default": "pareto",
            "help": "what is optimised, on validation: Frechet distance, AUROC or (default) both",
        },
        "--systems": {
            "type": systems,
            "metavar": "NAME,NAME",
            "help": f"methods trained once besides the search: {', '.join(SYSTEMS)}, or none "
            f"(default {','.join(DEFAULT_SYSTEMS)})",
        },
        "--set": {
            "action": "append",
            "default": [],
            "metavar": "FIELD=VALUE",
            "help": "fix a field of the config for the whole study; may be repeated",
        },
        "--seed": {"type": seed, "default": 0, "metavar": "N", "help": "seed of every trial (default 0)"},
    },
    "machines": {
        "--gpus-per-trial": {
            "type": gpu_share,
            "metavar": "G",
            "help": "a fraction lets trials share a GPU (default: those that fit; one a worker for several)",
        },
        "--workers-per-trial": {
            "type": count,
            "default": 1,
            "metavar": "N",
            "help": "Ray Train workers of a trial (default 1)",
        },
        "--address": {
            "metavar": "HOST:PORT",
            "help": "a running Ray cluster (default: this machine; on the head of `ray up`, its cluster)",
        },
    },
    "study": {
        "--out": {
            "type": Path,
            "default": Path("runs"),
            "metavar": "DIR",
            "help": "folder of studies (default runs); on a cluster one that all nodes share",
        },
        "--name": {"help": "name of the study (default: from the data's layout and the preset)"},
        "--resume": {
            "action": "store_true",
            "help": "go on with an interrupted study: the same command with this flag; a larger --trials extends it",
        },
        "--dry-run": {
            "action": "store_true",
            "help": "print the resolved config, space, resources and an estimate; run nothing",
        },
    },
}

CONFIRM_FLAGS = {
    "what is confirmed": {
        "--top": {
            "type": count,
            "default": 3,
            "metavar": "N",
            "help": "the best trials by validation (default 3); the paper's configurations come on top",
        },
        "--trials": {"nargs": "+", "metavar": "ID", "help": "exactly these trials instead"},
        "--seeds": {"type": count, "default": 5, "metavar": "N", "help": "new seeds of every arm (default 5)"},
        "--ratios": {
            "type": ratios,
            "default": (0.5, 1.0, 2.0),
            "metavar": "R,R",
            "help": "synthetic ratios besides each trial's own (default 0.5,1,2)",
        },
        "--fractions": {
            "type": fractions,
            "default": (0.1, 0.25, 0.5),
            "metavar": "F,F",
            "help": "parts of the training groups for the few-data curve (default 0.1,0.25,0.5), or none",
        },
        "--dry-run": {"action": "store_true", "help": "list the trials; run nothing"},
    },
    "more tests": {
        "--test-data": {"type": Path, "metavar": "PATH", "help": "other photographs, all of them an external test set"},
        "--positive": {"metavar": "NAME", "help": "their positive class, where its name does not tell"},
        "--negative": {"metavar": "NAME[,NAME]", "help": "their other class, where there are more than two"},
        "--group-pattern": {"metavar": "REGEX", "help": "their groups, as for run_sweep.py"},
        "--skip-bad": {"action": "store_true", "help": "leave out those of them that cannot be decoded"},
        "--subgroups": {
            "type": Path,
            "metavar": "CSV",
            "help": "columns image_id,attribute: subgroups besides the estimated skin tones",
        },
    },
}


def make_folder(path: Path) -> Path:
    """The absolute path of a folder that exists and can be written; ConfigError otherwise."""
    path = path.expanduser().absolute()  # Ray's workers start in another folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error.strerror}); choose another folder") from None
