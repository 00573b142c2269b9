"""Check whether this machine or cluster has all that a study needs. Exit code 0 if no check failed.

    python study/doctor.py                                       this machine
    python study/doctor.py --data PATH --out DIR                 and these folders
    python study/doctor.py --address HOST:PORT --out /mnt/study  every node of a cluster that is up now
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "doctor")

if __name__ == "__main__":
    sys.exit(main())
