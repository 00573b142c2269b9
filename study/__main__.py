"""All commands under one name: `dfu-study sweep`, where the project is installed, or `python -m study sweep`.

Each is the same function as that of the file which is named beside it. Imports nothing slow, for `--help`.
"""

import importlib
import sys
from pathlib import Path

from results.text import leave_standard_output
from study.bundle.command import EXIT_USER_ERROR  # which needs no package beside Python

COMMANDS = {  # name -> (module whose `main` it calls, what it does)
    "doctor":      ("study.doctor",        "is everything there that a study needs?"),
    "sweep":       ("study.run_sweep",     "prepare the photographs, search, print the leaderboard"),
    "leaderboard": ("results.leaderboard", "the trials of a study ranked, the paper in row 0"),
    "confirm":     ("study.confirm",       "the best GANs again, over new seeds and arms"),
    "benchmark":   ("study.benchmark",     "every system over seeds, at an equal cost"),
    "audit":       ("study.audit",         "do a study's GANs copy or collapse?"),
    "report":      ("results.report",      "one HTML page: the answer, and what it rests on"),
    "reproduce":   ("study.reproduce",     "one stored trial again, metric beside metric"),
    "publish":     ("results.publish",     "a study's tables and report to a folder or a bucket"),
    "export":      ("study.export",        "a trial as a bundle: weights, ONNX, threshold, model card"),
    "generate":    ("study.generate",      "synthetic images with a bundle"),
    "predict":     ("study.predict",       "photographs classified with a bundle"),
    "serve":       ("study.serve",         "a bundle as a page on this machine"),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names; returns its exit code, 2 where there is no such command."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        try:
            print(usage(), flush=True)
        except BrokenPipeError:  # such as `| head`
            leave_standard_output()
        return 0
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_USER_ERROR
    # What the command calls itself in its help, and what tables and messages give as the command to run again.
    sys.argv = [f"{program()} {name}", *rest]
    return importlib.import_module(COMMANDS[name][0]).main(rest)


def program() -> str:
    """How this file was started."""
    return "python -m study" if Path(sys.argv[0]).name == "__main__.py" else "dfu-study"


def usage() -> str:
    lines = [f"  {name:<12} {what}" for name, (_, what) in COMMANDS.items()]
    start = f"usage: {program()} COMMAND ...\n\nDo synthetic images help diagnose diabetic foot ulcers?\n"
    return "\n".join([start, *lines, f"\n`{program()} COMMAND --help` tells the flags of one."])


if __name__ == "__main__":
    sys.exit(main())
