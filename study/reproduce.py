"""Run one stored trial again on this machine, without Ray, and print each metric beside the stored one.

    python study/reproduce.py runs/sample-smoke --best auroc
    python study/reproduce.py runs/sample-smoke --trial search-007
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "reproduce")

if __name__ == "__main__":
    sys.exit(main())
