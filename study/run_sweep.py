"""The main command: prepare the photographs, search, print the leaderboard.

    python study/run_sweep.py                     embedded sample data, this machine
    python study/run_sweep.py --data DIR          your photographs
    python study/run_sweep.py --help
"""

import sys
from functools import partial

from study.cli import run_command

main = partial(run_command, "sweep")

if __name__ == "__main__":
    sys.exit(main())
