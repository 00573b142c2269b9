"""What was run: the budget, the facts needed to run the study again, and the trials that did not complete."""

import json

import pandas as pd

from results.leaderboard import saved_minutes
from results.page.parts import Note, Table, cell
from results.stats.evidence import Evidence, select
from results.tables.schema import FINALIST


def budget_table(evidence: Evidence) -> Table:
    """Time spent on GANs and classifiers, and GAN training saved by reuse and by stopping early."""
    trials = evidence.trials
    gans = trials[trials["phase"] != FINALIST]  # a repeat would not have trained one
    stopped, reused = select(trials, status="pruned"), select(gans, gan_reused=True)
    trained = select(trials, gan_reused=False).dropna(subset="gan_seconds")
    trained, diagnosed = trained[trained["status"] != "pruned"], trials["classifier_seconds"].dropna()
    by_reuse, by_stopping = saved_minutes(gans)
    rows = [
        ("training GANs that finished", len(trained), trained["gan_seconds"].sum()),
        ("training GANs that were stopped early", len(stopped), stopped["gan_seconds"].sum()),
        ("saved by stopping early (estimate)", len(stopped), 60 * by_stopping),
        ("saved by reusing a trained GAN", len(reused), 60 * by_reuse),
        ("training classifiers", len(diagnosed), diagnosed.sum()),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["what", "trials", "seconds"])
    time = [f"{s / 3600:.1f} h" if s >= 3600 else f"{s / 60:.1f} min" for s in frame["seconds"]]
    columns = (("what", "what", "s"), ("trials", "trials", "d"), ("time", "time", "s"))
    caption = "Budget. Estimate: the epochs that were not run times the GAN's own seconds per epoch"
    return Table("budget", caption, frame.assign(time=time), columns)


def run_table(evidence: Evidence) -> Table:
    """What was run, a line a fact; where rows differ every value is listed."""
    trials = evidence.trials
    trial = evidence.completed.iloc[0] if len(evidence.completed) else trials.iloc[0]
    values = {name: "; ".join(map(str, trials[name].dropna().unique())) for name in
              ("commit", "command", "preset", "hardware", "device", "data_fingerprint", "data_layout")}  # fmt: skip
    versions = [", ".join(map(" ".join, json.loads(text).items())) for text in trials["versions"].dropna().unique()]
    facts = {
        **{name.replace("_", " "): value for name, value in values.items()},
        "versions": "; ".join(versions),
        "classes": f"positive {trial['positive_class']}, negative {trial['negative_class']}",
        "image size": f"{trial['image_size']:.0f} px",
        "split": f"{evidence.protocol}, split seed {trial['split_seed']:.0f}",
        "training images": _count(trial["num_train_real"]),
        **{f"{side} images":
           f"{_count(trial[f'{side}_num_images'])} ({_count(trial[f'{side}_num_positive'])} positive)"
           for side in ("validation", "test")},
        "test images with a copy in training":
            _count(select(trials, split_protocol=evidence.protocol)["num_leaked_test"].max()),
        "near-duplicates merged": _count(trial["num_near_duplicates"]),
        "files skipped": _count(trial["num_skipped_files"]),
        "seeds": ", ".join(f"{seed:.0f}" for seed in sorted(trials["seed"].dropna().unique())),
        "trials": ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items()),
        "first started": trials["started_at"].dropna().min(),
    }  # fmt: skip
    frame = pd.DataFrame(facts.items(), columns=["what", "value"]).replace("", None)
    return Table("run", "What was run", frame, (("what", "what", "s"), ("value", "value", "s")))


def _count(value: float) -> str:
    return cell(value, ",.0f")


def ended_table(evidence: Evidence) -> Table | Note:
    """Trials that did not complete, and why."""
    frame = evidence.trials[evidence.trials["status"] != "completed"].sort_values(["status", "trial_id"])
    if frame.empty:
        return Note("Every trial completed.")
    columns = (("trial", "trial_id", "s"), ("status", "status", "s"), ("reason", "reason", "s"))
    return Table("not_completed", "Trials that failed or were stopped, and why", frame, columns)
