"""Is everything there that a study needs? A line a check; exit code 0 where none failed.

    python study/doctor.py                                       this machine
    python study/doctor.py --data PATH --out DIR                 and these folders
    python study/doctor.py --address HOST:PORT --out /mnt/study  every node of a cluster that is up now
"""

import sys

from study.cli import doctor_parser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    return run_command("doctor", doctor_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
