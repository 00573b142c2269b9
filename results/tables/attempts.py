"""A trial that a machine's fault ended runs again, a bounded number of times, in a search and in a confirmation.

The reason in such a trial's row counts its runs: `lost by Ray (2 of 3): node died`.
"""

import re

import pandas as pd

LOST = "lost by Ray"
ATTEMPTS = 3


def lost_attempts(reason: str | None) -> int:
    """How often the trial of a row with this reason was lost; 0 where it ended by itself."""
    found = re.match(rf"{LOST} \((\d+) of ", str(reason))
    return int(found[1]) if found else 0


def lost_reason(error: str, earlier_reason: str | None) -> str:
    """The reason of a trial that `error` has ended; `earlier_reason` is that of the row it already has, if any."""
    return f"{LOST} ({lost_attempts(earlier_reason) + 1} of {ATTEMPTS}): {error}"


def runs_again(reason: str | None) -> bool:
    """Whether the next command runs the trial of a row with this reason once more."""
    return 0 < lost_attempts(reason) < ATTEMPTS


def done(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials that are not run again. A trial lost to a machine runs again while it has an attempt left."""
    return trials[~trials["reason"].map(runs_again).astype(bool)]
