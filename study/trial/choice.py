"""The trial of a study that a command works on: one that is named, or the best."""

from pathlib import Path

import pandas as pd

from results.leaderboard import leaderboard
from results.tables.store import read_trials
from study.errors import ConfigError, refuse_no_study


def choose_row(study: Path, best: str | None, trial_id: str | None) -> dict:
    """The row of the trial `trial_id`, or of the best completed one by "auroc" or "frechet"; missing values are None.

    Raises ConfigError for a folder that is no study, an unknown trial, and one that was stopped or has failed.
    """
    refuse_no_study(study)
    trials = read_trials(study)
    completed = trials[trials["status"] == "completed"]
    if completed.empty:
        raise ConfigError(f"{study} has no completed trial; go on with study/run_sweep.py --resume")
    chosen = trials[trials["trial_id"] == (best_trial(study, completed, best) if best else trial_id)]
    known = f"completed are: {', '.join(completed['trial_id'])}"
    if chosen.empty:
        raise ConfigError(f"{study} has no trial {trial_id!r}; {known}")
    row = {name: None if pd.isna(value) else value for name, value in chosen.iloc[0].to_dict().items()}
    if row["status"] != "completed":
        raise ConfigError(f"trial {trial_id} is {row['status']} ({row['reason']}), not completed; {known}")
    return row


def best_trial(study: Path, completed: pd.DataFrame, best: str) -> str:
    """Its id: rank 1 on the leaderboard, which ranks on validation."""
    if best == "frechet":
        completed = completed[completed["frechet_distance"].notna()]
    ranked = leaderboard(completed, best)
    first = ranked.loc[ranked["rank"] == 1, "trial_id"]
    if first.empty:
        raise ConfigError(f"{study} has no completed trial that {best} could rank; name one with --trial")
    return first.iloc[0]
