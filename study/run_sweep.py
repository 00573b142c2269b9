"""The main command: prepare the photographs, search, print the leaderboard.

    python study/run_sweep.py                     embedded sample data, this machine
    python study/run_sweep.py --data DIR          your photographs
    python study/run_sweep.py --help
"""

import sys

from study.cli import run_command, sweep_parser


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    return run_command("sweep", sweep_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
