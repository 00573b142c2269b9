"""The trial of a study that is exported."""

from pathlib import Path

import pandas as pd

from results.leaderboard import leaderboard
from results.tables.store import read_trials
from study.errors import ConfigError


def chosen_row(study: Path, best: str, trial_id: str | None) -> dict:
    """The row of the trial `trial_id`, or of the best completed one by "auroc" or "frechet", nulls as None.

    Raises ConfigError for a folder that is no study, an unknown trial, and one that was stopped or has failed.
    """
    if not (study / "trials").is_dir():
        raise ConfigError(f"{study} is not a study: it has no folder `trials`")
    trials = read_trials(study)
    chosen = trials[trials["trial_id"] == (trial_id or best_trial(study, trials, best))]
    completed = trials.loc[trials["status"] == "completed", "trial_id"]
    if chosen.empty:
        raise ConfigError(f"{study} has no trial {trial_id!r}; completed are: {', '.join(completed) or 'none'}")
    row = {name: None if pd.isna(value) else value for name, value in chosen.iloc[0].to_dict().items()}
    if row["status"] != "completed":
        raise ConfigError(
            f"trial {row['trial_id']} is {row['status']} ({row['reason']}): it has no finished classifier to export; "
            f"completed are: {', '.join(completed) or 'none'}"
        )
    return row


def best_trial(study: Path, trials: pd.DataFrame, best: str) -> str:
    """Its id: rank 1 on the leaderboard, which ranks on validation."""
    completed = trials[trials["status"] == "completed"]
    if best == "frechet":
        completed = completed[completed["frechet_distance"].notna()]
    ranked = leaderboard(completed, best)
    first = ranked.loc[ranked["rank"] == 1, "trial_id"]
    if first.empty:
        raise ConfigError(f"{study} has no completed trial to export; go on with study/run_sweep.py --resume")
    return first.iloc[0]
