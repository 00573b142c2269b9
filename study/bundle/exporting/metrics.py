"""What the study's tables say of one trial: its own figures, and those of its confirmation with their intervals."""

from pathlib import Path

import pandas as pd

from results.tables.store import read_table, read_trials

OWN = ("auroc", "auprc", "accuracy", "precision", "recall", "f1", "mcc", "tpr", "fpr", "brier", "ece")
COPIES = "copies training images"  # in a verdict of study.gan_audit.audit


def trial_metrics(row: dict) -> list[dict]:
    """The figures of the row itself, one dict for each metric of validation and test; no intervals."""
    return [
        {"side": side, "metric": metric, "value": float(row[name])}
        for side in ("validation", "test")
        for metric in OWN
        if pd.notna(row.get(name := f"{side}_{metric}"))
    ]


def confirmed_metrics(study: Path, row: dict) -> list[dict]:
    """Rows of ESTIMATES of the trial's confirmation: its GAN and ratio over new seeds; empty without one.

    The baseline's are those of the arm `real`. A confirmation uses the study's own classifier settings, so the
    exported classifier may differ from the confirmed ones by its settings, too.
    """
    trials = read_trials(study)
    if not (trials["phase"] == "confirm").any():
        return []
    rows = read_table(study, "estimates")
    of_gan = rows["gan"].isna() if row["phase"] == "baseline" else rows["gan"] == row["trial_id"]
    same = (rows["arm"] == row["arm"]) & (rows["split_protocol"] == row["split_protocol"])
    chosen = rows[of_gan & same & (rows["training_fraction"] == 1)]
    return [{name: None if pd.isna(value) else value for name, value in r.items()} for r in chosen.to_dict("records")]


def audit_verdicts(study: Path, gan_key: str | None) -> dict[str, str]:
    """Feature extractor -> what the audit says of a GAN, both classes together; empty where it was not audited."""
    rows = read_table(study, "generator_metrics")
    rows = rows[(rows["gan_key"] == gan_key) & rows["label"].isna()]
    return dict(zip(rows["feature_extractor"], rows["verdict"], strict=True))
