"""The flags of `study/run_sweep.py`."""

import argparse
from pathlib import Path

from study.config import PRESET_NAMES
from study.search import OBJECTIVES


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line (or `arguments`); exits with a usage message on a wrong one."""
    parser = argparse.ArgumentParser(
        description="Train GANs and classifiers on foot-ulcer photographs and rank them beside the paper.",
        epilog="Without arguments: a small study on the embedded sample data, on this machine.",
        allow_abbrev=False,  # `shareable_command` knows flags by their full names
    )
    for title, flags in FLAGS.items():
        group = parser.add_argument_group(title)
        for name, settings in flags.items():
            group.add_argument(name, **settings)
    return parser.parse_args(arguments)


def duration(text: str) -> float:
    """`90s`, `45m`, `12h` or plain seconds -> seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 45m or 12h") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not more than nothing")
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


FLAGS = {
    "data": {
        "--data": {
            "type": Path,
            "metavar": "PATH",
            "help": "folder of photographs, or CSV manifest (default: embedded sample data)",
        },
        "--positive": {"metavar": "NAME", "help": "the positive class, where its name does not tell"},
        "--group-pattern": {
            "metavar": "REGEX",
            "help": "its one group, matched to a file's name, tells the patient or wound",
        },
        "--split": {
            "choices": ("grouped", "random"),
            "default": "grouped",
            "help": "random replicates the paper's protocol, with copies of a wound on both sides",
        },
        "--split-seed": {"type": seed, "default": 0, "metavar": "N", "help": "seed of the 70:15:15 split (default 0)"},
        "--skip-bad": {"action": "store_true", "help": "leave out files that cannot be decoded, and record how many"},
        "--inception-weights": {
            "type": Path,
            "metavar": "PATH",
            "help": "torch-fidelity's Inception weights, for machines without internet",
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
            "help": "a fraction lets trials share a GPU (default: one for each worker, where there are GPUs)",
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
