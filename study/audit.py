"""Audit the GANs of a study: distances, diversity, copying and collapse, skin tones of their images.

    python study/audit.py runs/sample-smoke          # GANs of the confirming trials
    python study/audit.py runs/sample-smoke --all    # of the search and of parts of the training set, too
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "audit")

if __name__ == "__main__":
    sys.exit(main())
