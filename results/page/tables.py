"""The report's tables, each a frame with the columns to show: header, key, format."""

from collections.abc import Iterable

import pandas as pd

from results.leaderboard import leaderboard
from results.page.answer import SIGNIFICANCE
from results.page.parts import AUDIT, CONFIRM, MISSING, Note, Table
from results.stats.evidence import Evidence, arm_name, select
from results.tables.published import paper_row

METRICS = {
    "accuracy": "accuracy", "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "mcc": "MCC", "tpr": "sensitivity",
    "fpr": "false positives", "sensitivity_at_95_specificity": "sens. at 95 % spec.", "brier": "Brier", "ece": "ECE",
}  # fmt: skip
HEADLINE = ("accuracy", "auroc")
SHOWN = (*HEADLINE, "tpr", "fpr")
AUDIT_COLUMNS = (
    ("GAN", "model", "s"), ("seed", "seed", "d"), ("verdict", "verdict", "s"), ("features", "feature_extractor", "s"),
    ("real images", "num_real", "d"), ("synthetic", "num_fake", "d"), ("Frechet", "frechet_distance", ".1f"),
    ("floor", "frechet_floor", ".1f"), ("KID", "kid_mean", ".3f"), ("floor", "kid_floor", ".3f"),
    ("precision", "precision", ".2f"), ("recall", "recall", ".2f"), ("coverage", "coverage", ".2f"),
    ("copied", "copied_share", ".1%"), ("diversity to real", "diversity_ratio", ".2f"),
)  # fmt: skip
AUDIT_DETAILS = (
    ("GAN", "model", "s"), ("seed", "seed", "d"), ("features", "feature_extractor", "s"), ("class", "part", "s"),
    ("real images", "num_real", "d"), ("synthetic", "num_fake", "d"), ("Frechet", "frechet_distance", ".1f"),
    ("floor", "frechet_floor", ".1f"), ("KID", "kid_mean", ".3f"), ("± sd", "kid_std", ".3f"),
    ("floor", "kid_floor", ".3f"), ("IS", "inception_score", ".2f"), ("of real images", "inception_score_real", ".2f"),
    ("precision", "precision", ".2f"), ("floor", "precision_floor", ".2f"), ("recall", "recall", ".2f"),
    ("floor", "recall_floor", ".2f"), ("density", "density", ".2f"), ("floor", "density_floor", ".2f"),
    ("coverage", "coverage", ".2f"), ("floor", "coverage_floor", ".2f"),
    ("nearest-training ratio", "nearest_train_ratio", ".2f"), ("in pixels", "nearest_train_ratio_pixels", ".2f"),
    ("copied", "copied_share", ".1%"), ("of held-out", "copied_share_real", ".1%"),
    ("copy rate", "copy_rate", ".1%"), ("in pixels", "copy_rate_pixels", ".1%"), ("diversity", "diversity", ".1f"),
    ("of real images", "diversity_real", ".1f"), ("ratio", "diversity_ratio", ".2f"),
    ("in pixels", "diversity_ratio_pixels", ".2f"), ("separation to real", "separation_ratio", ".2f"),
    ("in pixels", "separation_ratio_pixels", ".2f"), ("verdict", "verdict", "s"),
)  # fmt: skip


def search_table(evidence: Evidence) -> list[Table | Note]:
    """The search's leaderboard; the difference to the paper only where the two can be compared."""
    frame = leaderboard(evidence.searched).copy()
    paper = paper_row()["test_auroc"]
    reasons = list(dict.fromkeys(reason for reason in frame["comparable"] if reason != "yes"))
    letters = {reason: f"({chr(ord('a') + number % 26)})" for number, reason in enumerate(reasons)}
    delta = [letters.get(row.comparable, f"{row.test_auroc - paper:+.3f}") for row in frame.itertuples()]
    delta[0] = MISSING
    real_only = frame["synthetic_ratio"] == 0
    frame = frame.assign(
        delta=delta,
        place=[_rank(row) for row in frame.itertuples()],
        note=[_note(row) for row in frame.fillna({"rank": 0}).itertuples()],
        backbone=frame["backbone"].mask(real_only, "none: real images only"),
    )
    frame["lstm_depth"] = frame["lstm_depth"].mask(real_only)
    columns = (
        ("rank", "place", "s"), ("trial", "trial_id", "s"), ("GAN", "backbone", "s"), ("LSTM", "lstm_depth", ".0f"),
        ("ratio", "synthetic_ratio", ".2g"), ("Frechet", "frechet_distance", ".1f"),
        ("floor", "frechet_floor", ".1f"), ("IS", "inception_score", ".2f"), ("SSIM", "ssim_nearest", ".2f"),
        ("validation AUROC", "validation_auroc", ".3f"), ("test AUROC", "test_auroc", ".3f"),
        ("minus the paper", "delta", "s"), ("", "note", "s"),
    )  # fmt: skip
    caption = "Trials of the search, one seed each, ranked by validation AUROC; row 0 is the paper. * Pareto front"
    explained = [f"{letter} not comparable with the paper: {reason}." for reason, letter in letters.items()]
    return [Table("leaderboard", caption, frame, columns), Note(" ".join(explained))][: 1 + bool(explained)]


def _note(row) -> str:
    """What must be said of a row: that it did not finish, or that the first place has luck in it."""
    if row.status not in ("completed", "published"):
        return row.status
    return "one seed, best of a search" if row.rank == 1 else ""


def _rank(row) -> str:
    return MISSING if pd.isna(row.rank) else f"{row.rank}{'*' if row.pareto else ''}"


def confirmed_tables(evidence: Evidence) -> list[Table | Note]:
    """Arms over seeds with their intervals, the paper first; all metrics folded; then an external test set, if any."""
    rows = select(
        evidence.estimates, corruption="none", subgroup=None, training_fraction=1.0, split_protocol=evidence.protocol
    )
    if rows.empty or evidence.choice is None:
        return [Note("No arm was repeated over seeds yet: every figure above is of one seed.", CONFIRM)]
    parts = []
    for side, group in rows.groupby("side", sort=False):
        keys = ["gan", "arm", "classifier_key"]
        arms = [_arm_row(dict(zip(keys, key, strict=True)), arm) for key, arm in group.groupby(keys, dropna=False)]
        frame = pd.DataFrame([_paper_arm(), *arms])
        caption = f"Confirmed arms, {side} images: mean ± standard deviation over seeds"
        parts.append(Table(f"confirmed_{side}", caption, frame, _arm_columns(frame, SHOWN)))
        parts.append(
            Table(f"metrics_{side}", f"{caption}, all metrics", frame, _arm_columns(frame, METRICS), folded=True)
        )
    return parts


def _paper_arm() -> dict:
    published = paper_row()
    figures = {metric: f"{published[f'test_{metric}']:.3f}" for metric in ("accuracy", "auroc", "f1", "tpr", "fpr")}
    return {"name": "the paper: real + synthetic", "gan": "plain, 2 LSTM layers"} | figures


def _arm_columns(frame: pd.DataFrame, metrics: Iterable[str]) -> tuple:
    columns = [("arm", "name", "s"), ("GAN", "gan", "s")]
    for metric in [name for name in metrics if name in frame]:
        columns += [(METRICS[metric], metric, "s")]
        columns += [("95 % interval", f"{metric}_interval", "s")] * (metrics is METRICS or metric in HEADLINE)
    counts = [("seeds", "num_seeds", ".0f"), ("images", "num_images", ".0f"), ("groups", "num_groups", ".0f")]
    return (*columns, *counts, ("classifier", "classifier_key", "s"))


def _arm_row(key: dict, rows: pd.DataFrame) -> dict:
    counts = rows[["num_seeds", "num_images", "num_groups"]].iloc[0].to_dict()
    row = key | counts | {"name": arm_name(key["arm"])}
    for estimate in rows.itertuples():
        deviation = "" if pd.isna(estimate.sd) else f" ± {estimate.sd:.3f}"
        row[estimate.metric] = f"{estimate.value:.3f}{deviation}"
        row[f"{estimate.metric}_interval"] = _interval(estimate)
    return row


def _interval(row) -> str:
    return MISSING if pd.isna(row.ci_low) else f"{row.ci_low:.3f} to {row.ci_high:.3f}"


def comparisons_table(evidence: Evidence) -> list[Table]:
    rows = evidence.comparisons
    if rows.empty:
        return []
    frame = rows.assign(
        a=rows["arm_a"].map(arm_name),
        b=rows["arm_b"].map(arm_name),
        interval=[_signed(row) for row in rows.itertuples()],
    )
    columns = (
        ("question", "family", "s"), ("outcome", "metric", "s"), ("side", "side", "s"), ("GAN", "gan", "s"),
        ("a", "a", "s"), ("b", "b", "s"),
        ("data used", "training_fraction", ".0%"), ("a", "value_a", ".3f"), ("b", "value_b", ".3f"),
        ("a - b", "difference", "+.3f"), ("95 % interval", "interval", "s"), ("p", "p_value", ".3f"),
        ("adjusted p", "p_adjusted", ".3f"), ("seeds", "num_seeds", "d"), ("images", "num_images", "d"),
        ("groups", "num_groups", "d"), ("test", "test", "s"),
    )  # fmt: skip
    caption = (
        "Every difference that was tested; p adjusted by Holm within question, outcome and side. The answer calls a "
        f"difference shown where the adjusted p is below {SIGNIFICANCE}"
    )
    return [Table("comparisons", caption, frame, columns, folded=True)]


def _signed(row) -> str:
    return MISSING if pd.isna(row.ci_low) else f"{row.ci_low:+.3f} to {row.ci_high:+.3f}"


def generator_tables(evidence: Evidence) -> list[Table | Note]:
    """Every audited GAN by its main measures beside their floors; then all measures, extractors and classes, folded."""
    rows = evidence.generator_metrics
    if rows.empty:
        return [Note("No GAN was audited yet: quality by class, copying and collapse are not known.", AUDIT)]
    trial = evidence.trials.iloc[0]
    classes = {0: trial["negative_class"], 1: trial["positive_class"]}
    frame = rows.assign(
        model=rows["confirms"].fillna(rows["trial_id"]), part=rows["label"].map(classes).fillna("both")
    ).sort_values(["model", "seed", "feature_extractor", "label"], na_position="first")
    caption = "Generator audit. Floor: as many real training images in the place of the synthetic ones"
    return [
        Table("generator_audit", caption, select(frame, label=None), AUDIT_COLUMNS),
        Table("generator_metrics", "Generator audit by class, all measures", frame, AUDIT_DETAILS, folded=True),
    ]


def subgroup_tables(evidence: Evidence) -> list[Table | Note]:
    """The contrasted arms by subgroup; then all arms, folded."""
    rows = evidence.estimates.dropna(subset="subgroup")
    if rows.empty:
        return [Note("No subgroup was looked at yet (skin tone is estimated, or named in a CSV).",
                     CONFIRM)]  # fmt: skip
    contrasted = pd.concat([evidence.of_arm(rows, arm) for arm in evidence.contrasted_arms] or [rows])
    caption = "Test images by subgroup: mean ± standard deviation over seeds"
    return [
        _subgroup_table("subgroups", caption, contrasted, folded=False),
        _subgroup_table("subgroups_all_arms", f"{caption}, all arms", rows, folded=True),
    ]


def _subgroup_table(name: str, caption: str, rows: pd.DataFrame, folded: bool) -> Table:
    keys = ["subgroup", "gan", "arm", "classifier_key"]
    frame = pd.DataFrame([_subgroup_row(dict(zip(keys, key, strict=True)), group)
                          for key, group in rows.groupby(keys, dropna=False)])  # fmt: skip
    columns = [("subgroup", "subgroup", "s"), ("arm", "name", "s"), ("GAN", "gan", "s")]
    for metric in [name for name in ("auroc", "tpr", "fpr") if name in frame]:
        columns += [(METRICS[metric], metric, "s"), ("95 % interval", f"{metric}_interval", "s")]
    columns += [("images", "num_images", "d"), ("positive", "num_positive", "d"), ("groups", "num_groups", "d")]
    return Table(name, caption, frame, tuple(columns), folded)


def _subgroup_row(key: dict, rows: pd.DataFrame) -> dict:
    return _arm_row(key, rows) | {"num_positive": rows["num_positive"].iloc[0]}


def share_table(evidence: Evidence) -> list[Table]:
    """How the real training images and each GAN's images divide among subgroups."""
    rows = evidence.attributes
    if rows.empty:
        return []
    rows = rows[(rows["side"] == "train") | (rows["kind"] == "synthetic")]
    trials = evidence.completed.dropna(subset="gan_key").drop_duplicates("gan_key").set_index("gan_key")
    models = trials["confirms"].fillna(trials["trial_id"]) + ", seed " + trials["seed"].astype(int).astype(str)
    shown = rows.assign(images=("synthetic, " + rows["gan_key"].map(models)).fillna("real, training"))
    counts = shown.groupby(["source", "attribute", "images"]).size().rename("count").reset_index()
    counts["share"] = counts["count"] / counts.groupby(["source", "images"])["count"].transform("sum")
    columns = (("subgroup", "attribute", "s"), ("source", "source", "s"), ("images", "images", "s"),
               ("count", "count", "d"), ("share", "share", ".1%"))  # fmt: skip
    caption = "Share of each subgroup in real and in synthetic images"
    return [Table("subgroup_shares", caption, counts, columns, folded=True)]
