"""Re-run the best trials of a search and the paper's over new seeds and arms, and test what they claim.

    python study/confirm.py runs/sample-smoke --top 3 --seeds 5
    python study/confirm.py runs/sample-smoke --trials paper-000 search-007 --seeds 3
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "confirm")

if __name__ == "__main__":
    sys.exit(main())
