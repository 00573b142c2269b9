"""What gain a study can show: before it from the spread of trainings and test images, after it from its own error."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from results.stats.evidence import select
from results.stats.significance import accuracy_covariance
from results.tables.schema import REPEATED
from results.tables.store import read_table

SIGNIFICANCE = 0.05
NUM_OUTCOMES = 2  # accuracy and AUROC; Holm tests the clearer one at half the level
POWER = 0.8
MOST_SEEDS = 1000
MIN_CLASSIFIERS = 3  # of a search, to tell how much trainings vary


def detectable_gain(standard_error: float, degrees_of_freedom: float) -> float:
    """The true gain that a study with such an error shows in four of five tries, in the metric's own unit."""
    level = SIGNIFICANCE / NUM_OUTCOMES
    return float(standard_error * (t.ppf(1 - level / 2, degrees_of_freedom) + t.ppf(POWER, degrees_of_freedom)))


@dataclass(frozen=True)
class Spread:
    """How much the accuracy of a classifier varies, for a judgement that is still to be made.

    `of_training`: variance of one training's accuracy; `shared`: variance of a difference that more seeds do not lower,
    as all are tested on the same images; `num_groups`: of the test images.
    """

    of_training: float
    shared: float
    num_groups: int

    def detectable(self, num_judging: int, num_choosing: int) -> float:
        """The true gain in accuracy that is shown in four of five tries."""
        of_seeds = 2 * self.of_training / num_judging
        freedom = 2 * (num_judging - 1 + max(num_choosing - 1, 0))
        squares = of_seeds**2 / freedom + self.shared**2 / max(self.num_groups - 1, 1)
        variance = of_seeds + self.shared
        return detectable_gain(np.sqrt(variance), variance**2 / squares) if squares else 0.0

    def seeds_needed(self, gain: float, num_choosing: int) -> int | None:
        """The least number of judging seeds that show `gain` in four of five tries; None where no number does."""
        return next((n for n in range(2, MOST_SEEDS + 1) if self.detectable(n, num_choosing) <= gain), None)


def read_spread(study: Path, trials: pd.DataFrame) -> Spread | None:
    """The spread over a search's classifiers on validation images; None with fewer than three of them.

    They differ in GAN, ratio and training, so that the spread is rather too large than too small. Real images alone
    were classified by one of them: `shared` is twice what its covariance with the others falls short of theirs.
    """
    completed = trials[(trials["status"] == "completed") & ~trials["phase"].isin(REPEATED)]
    predictions = select(read_table(study, "predictions"), side="validation", corruption="none")
    table = predictions.pivot_table(index=["image_id", "group", "label"], columns="trial_id", values="probability")
    names = [name for name in completed["trial_id"] if name in table]
    if len(names) < MIN_CLASSIFIERS or table[names].isna().any(axis=None):
        return None
    rows = completed.set_index("trial_id").loc[names]
    index = table.index
    called = np.greater_equal(table[names].to_numpy().T, rows["threshold"].to_numpy()[:, None])
    correct = called == (index.get_level_values("label").to_numpy() == 1)
    accuracies, covariance = accuracy_covariance(correct, index.get_level_values("group"))
    real = (rows["phase"] == "baseline").to_numpy()
    apart = ~np.eye(len(names), dtype=bool) & ~real & ~real[:, None]
    shared = 2 * (covariance[apart].mean() - covariance[real][:, ~real].mean()) if real.any() else 0.0
    return Spread(float(accuracies.var(ddof=1)), max(float(shared), 0.0), index.get_level_values("group").nunique())
