"""Re-run the best trials of a search and the paper's over new seeds and arms, and test what they claim.

    python study/confirm.py runs/sample-smoke --top 3 --seeds 5
    python study/confirm.py runs/sample-smoke --trials paper-000 search-007 --seeds 3
"""

import sys

from study.cli import confirm_parser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    return run_command("confirm", confirm_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
