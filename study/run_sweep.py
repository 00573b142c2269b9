"""The main command: prepare the photographs, search, print the leaderboard.

    python study/run_sweep.py                     embedded sample data, this machine
    python study/run_sweep.py --data DIR          your photographs
    python study/run_sweep.py status STUDY        how far a study is
    python study/run_sweep.py --help
"""

import sys

from study.flags.cli import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the search, or `status`; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["status"]:
        return run_command("status", given[1:])
    return run_command("sweep", given)


if __name__ == "__main__":
    sys.exit(main())
