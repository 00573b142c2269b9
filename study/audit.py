"""Audit the GANs of a study: distances, diversity, copying and collapse, skin tones of their images.

    python study/audit.py runs/sample-smoke          # GANs of the confirming trials
    python study/audit.py runs/sample-smoke --all    # of the search and of parts of the training set, too
"""

import sys

from study.cli import audit_parser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    return run_command("audit", audit_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
