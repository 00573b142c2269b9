"""What a trial is worth, by its own scores and those of the trials that share its GAN.

The best of many noisy scores looks better than it is. A score is taken as mean + GAN + trial + noise, each part normal,
and a trial's worth as mean + GAN + trial: its posterior mean lies between its scores, its GAN's and all of them.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from results.tables.schema import EVIDENCE, FINALIST

ALIKE = 1e-9  # a difference between scores that is only rounding
STEP = 0.05  # between two shares of the variance that are weighed


@dataclass(frozen=True)
class Scores:
    """Scores of a search, by trial: their number, mean and sum of squares around it, and the trial's GAN (T,)."""

    num: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    gan: np.ndarray  # 0 to G - 1


def worth_of_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """`worth` of a search's trials; `trials`: rows of TRIALS, the finalists' among them."""
    scores = trials[(trials["status"] == "completed") & ~trials["phase"].isin(EVIDENCE)]
    own = scores["confirms"].where(scores["phase"] == FINALIST, scores["trial_id"])
    return worth(scores.assign(trial_id=own))


def worth(scores: pd.DataFrame) -> pd.DataFrame:
    """Posterior mean and standard deviation of each trial's worth: columns `estimate` and `standard_error`.

    `scores`: a row a score, columns `trial_id`, `gan_key` (null: the trial's alone) and `validation_auroc`; the result
    is indexed by `trial_id`. The shares of GAN, trial and noise in the variance are not known. All on a grid are
    weighed by their restricted likelihood, so that trials without repeats, which tell little of the noise, are the more
    uncertain.
    """
    scores = scores.dropna(subset="validation_auroc")
    trials = scores.groupby("trial_id").agg(
        num=("validation_auroc", "size"),
        mean=("validation_auroc", "mean"),
        squares=("validation_auroc", lambda own: ((own - own.mean()) ** 2).sum()),
        gan=("gan_key", "first"),
    )
    if len(scores) < 2 or np.ptp(scores["validation_auroc"]) < ALIKE:
        return pd.DataFrame({"estimate": trials["mean"], "standard_error": np.nan})
    gans, _ = pd.factorize(trials["gan"].fillna("of " + trials.index.to_series()))
    data = Scores(*(trials[name].to_numpy() for name in ("num", "mean", "squares")), gans)
    steps = np.arange(0, 1, STEP)
    fits = [fit(data, gan, trial) for gan, trial in product(steps, steps) if gan + trial < 1 - STEP / 2]
    likelihood, mean, variance = (np.array(part) for part in zip(*fits, strict=True))
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    estimate = weight @ mean
    spread = weight @ (variance + mean**2) - estimate**2
    return pd.DataFrame({"estimate": estimate, "standard_error": np.sqrt(np.maximum(spread, 0))}, index=trials.index)


def fit(scores: Scores, gan: float, trial: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Restricted log likelihood of these shares of the variance, and each trial's posterior mean and variance.

    The whole variance is estimated with them. A trial's mean varies around its GAN's by `own`; a GAN's, weighed over
    its trials, around the mean of all by `1 / precision`.
    """
    noise = 1 - gan - trial
    own = trial + noise / scores.num
    weight = np.bincount(scores.gan, 1 / own)  # of the GANs
    mean = np.bincount(scores.gan, scores.mean / own) / weight
    precision = 1 / (gan + 1 / weight)
    centre = precision @ mean / precision.sum()
    squares = (
        scores.squares.sum() / noise
        + ((scores.mean - mean[scores.gan]) ** 2 / own).sum()
        + precision @ (mean - centre) ** 2
    )
    freedom = scores.num.sum() - 1
    determinant = (
        (scores.num - 1).sum() * np.log(noise)
        + (np.log(own) + np.log(scores.num)).sum()
        + np.log1p(gan * weight).sum()
        + np.log(precision.sum())
    )
    total = squares / freedom
    # Of a GAN: its mean is drawn to the centre, which is itself uncertain.
    drawn = 1 / (1 + gan * weight)
    of_gan = mean + drawn * (centre - mean)
    variance_of_gan = gan * drawn + drawn**2 / precision.sum()
    # Of a trial: its mean is drawn to its GAN's.
    kept = trial / own
    estimate = of_gan[scores.gan] + kept * (scores.mean - of_gan[scores.gan])
    variance = trial * (1 - kept) + (1 - kept) ** 2 * variance_of_gan[scores.gan]
    return -(determinant + freedom * np.log(total)) / 2, estimate, total * variance
