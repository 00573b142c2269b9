"""What was run: the budget, the facts needed to run the study again, and the trials that did not complete."""

import json

import pandas as pd

from results.leaderboard import saved_minutes
from results.page.parts import MISSING, Note, Table
from results.stats.evidence import Evidence, select


def budget_table(evidence: Evidence) -> Table:
    """Time spent on GANs and classifiers, and GAN training saved by reuse and by stopping early."""
    trials = evidence.trials
    stopped = select(trials, status="pruned")
    reused = trials[trials["gan_reused"].eq(True)]
    trained = trials[trials["gan_reused"].eq(False) & (trials["status"] != "pruned")].dropna(subset="gan_seconds")
    by_reuse, by_stopping = saved_minutes(trials)
    rows = [
        ("training GANs that finished", len(trained), trained["gan_seconds"].sum()),
        ("training GANs that were stopped early", len(stopped), stopped["gan_seconds"].sum()),
        ("saved by stopping early (estimate)", len(stopped), 60 * by_stopping),
        ("saved by reusing a trained GAN", len(reused), 60 * by_reuse),
        ("training classifiers", int(trials["classifier_seconds"].notna().sum()), trials["classifier_seconds"].sum()),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["what", "trials", "seconds"])
    frame = frame.assign(time=frame["seconds"].map(duration))
    columns = (("what", "what", "s"), ("trials", "trials", "d"), ("time", "time", "s"))
    caption = "Budget. Estimate: the epochs that were not run times the GAN's own seconds per epoch"
    return Table("budget", caption, frame, columns)


def duration(seconds: float) -> str:
    """Hours, or minutes below an hour."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def run_table(evidence: Evidence) -> Table:
    """What was run, a line a fact; where rows differ every value is listed."""
    trials = evidence.trials
    trial = evidence.completed.iloc[0] if len(evidence.completed) else trials.iloc[0]
    leaked = select(trials, split_protocol=evidence.protocol)["num_leaked_test"].max()
    facts = {
        "commit": _distinct(trials["commit"]), "command": _distinct(trials["command"]),
        "preset": _distinct(trials["preset"]),
        "hardware": _distinct(trials["hardware"]), "device": _distinct(trials["device"]),
        "versions": "; ".join(map(_versions, trials["versions"].dropna().unique())) or MISSING,
        "data fingerprint": _distinct(trials["data_fingerprint"]), "data layout": _distinct(trials["data_layout"]),
        "classes": f"positive {trial['positive_class']}, negative {trial['negative_class']}",
        "image size": f"{trial['image_size']:.0f} px",
        "split": f"{evidence.protocol}, split seed {trial['split_seed']:.0f}",
        "training images": _count(trial["num_train_real"]),
        "validation images": _side_count(trial, "validation"), "test images": _side_count(trial, "test"),
        "test images with a copy in training": _count(leaked),
        "near-duplicates merged": _count(trial["num_near_duplicates"]),
        "files skipped": _count(trial["num_skipped_files"]),
        "seeds": ", ".join(f"{seed:.0f}" for seed in sorted(trials["seed"].dropna().unique())),
        "trials": ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items()),
        "first started": trials["started_at"].min() if trials["started_at"].notna().any() else MISSING,
    }  # fmt: skip
    frame = pd.DataFrame(facts.items(), columns=["what", "value"])
    return Table("run", "What was run", frame, (("what", "what", "s"), ("value", "value", "s")))


def _distinct(values: pd.Series) -> str:
    return "; ".join(map(str, values.dropna().unique())) or MISSING


def _count(value) -> str:
    return MISSING if pd.isna(value) else f"{value:,.0f}"


def _side_count(trial: pd.Series, side: str) -> str:
    return f"{_count(trial[f'{side}_num_images'])} ({_count(trial[f'{side}_num_positive'])} positive)"


def _versions(text: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())


def ended_table(evidence: Evidence) -> Table | Note:
    """Trials that did not complete, and why."""
    frame = evidence.trials[evidence.trials["status"] != "completed"].sort_values(["status", "trial_id"])
    if frame.empty:
        return Note("Every trial completed.")
    columns = (("trial", "trial_id", "s"), ("status", "status", "s"), ("reason", "reason", "s"))
    return Table("not_completed", "Trials that failed or were stopped, and why", frame, columns)
