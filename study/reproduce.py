"""Run one stored trial again on this machine, without Ray, and print each metric beside the stored one.

    python study/reproduce.py runs/sample-smoke --best auroc
    python study/reproduce.py runs/sample-smoke --trial search-007
"""

import sys

from study.cli import reproduce_parser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    return run_command("reproduce", reproduce_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
