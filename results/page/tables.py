"""The report's tables, each a frame with the columns to show: header, key, format."""

from collections.abc import Iterable

import pandas as pd

from results.leaderboard import against_references, gan_cells, leaderboard, objective_of
from results.page.parts import AUDIT, CONFIRM, MISSING, Note, Table, with_classifier
from results.stats.evidence import Evidence, arm_name, select
from results.tables.published import paper_row

METRICS = {
    "accuracy": "accuracy", "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "mcc": "MCC", "tpr": "sensitivity",
    "fpr": "false positives", "sensitivity_at_95_specificity": "sens. at 95 % spec.", "brier": "Brier", "ece": "ECE",
}  # fmt: skip
SEARCH_COLUMNS = (
    ("rank", "place", "s"), ("trial", "trial_id", "s"), ("GAN", "backbone", "s"), ("LSTM", "lstm_depth", ".0f"),
    ("ratio", "synthetic_ratio", ".2g"), ("Frechet", "frechet_distance", ".1f"), ("floor", "frechet_floor", ".1f"),
    ("IS", "inception_score", ".2f"), ("SSIM", "ssim_nearest", ".2f"), ("validation AUROC", "estimate", ".3f"),
    ("± SE", "standard_error", ".3f"), ("test AUROC", "test_auroc", ".3f"), ("minus the paper", "delta", "s"),
    ("", "note", "s"),
)  # fmt: skip
AUDIT_COLUMNS = (
    ("GAN", "model", "s"), ("seed", "seed", "d"), ("verdict", "verdict", "s"), ("features", "feature_extractor", "s"),
    ("real images", "num_real", "d"), ("synthetic", "num_fake", "d"), ("Frechet", "frechet_distance", ".1f"),
    ("floor", "frechet_floor", ".1f"), ("KID", "kid_mean", ".3f"), ("floor", "kid_floor", ".3f"),
    ("precision", "precision", ".2f"), ("recall", "recall", ".2f"), ("coverage", "coverage", ".2f"),
    ("copied", "copied_share", ".1%"), ("diversity to real", "diversity_ratio", ".2f"),
    ("labels agree", "label_agreement", ".2f"), ("of real images", "label_agreement_real", ".2f"),
)  # fmt: skip
AUDIT_DETAILS = (
    *AUDIT_COLUMNS[:2], ("features", "feature_extractor", "s"), ("class", "part", "s"), *AUDIT_COLUMNS[4:9],
    ("± sd", "kid_std", ".3f"), ("floor", "kid_floor", ".3f"), ("IS", "inception_score", ".2f"),
    ("of real images", "inception_score_real", ".2f"), ("precision", "precision", ".2f"),
    ("floor", "precision_floor", ".2f"), ("recall", "recall", ".2f"), ("floor", "recall_floor", ".2f"),
    ("density", "density", ".2f"), ("floor", "density_floor", ".2f"), ("coverage", "coverage", ".2f"),
    ("floor", "coverage_floor", ".2f"), ("nearest-training ratio", "nearest_train_ratio", ".2f"),
    ("in pixels", "nearest_train_ratio_pixels", ".2f"), ("copied", "copied_share", ".1%"),
    ("of held-out", "copied_share_real", ".1%"), ("copy rate", "copy_rate", ".1%"),
    ("in pixels", "copy_rate_pixels", ".1%"), ("diversity", "diversity", ".1f"),
    ("of real images", "diversity_real", ".1f"), ("ratio", "diversity_ratio", ".2f"),
    ("in pixels", "diversity_ratio_pixels", ".2f"), ("separation to real", "separation_ratio", ".2f"),
    ("in pixels", "separation_ratio_pixels", ".2f"), ("verdict", "verdict", "s"),
)  # fmt: skip
COMPARISON_COLUMNS = (
    ("phase", "phase", "s"), ("question", "family", "s"), ("outcome", "metric", "s"), ("side", "side", "s"),
    ("GAN", "gan", "s"),
    ("a", "a", "s"), ("b", "b", "s"), ("data used", "training_fraction", ".0%"),
    ("positives used", "positive_fraction", ".3g"), ("a", "value_a", ".3f"),
    ("b", "value_b", ".3f"), ("a - b", "difference", "+.3f"), ("95 % interval", "interval", "s"),
    ("p", "p_value", ".3f"), ("adjusted p", "p_adjusted", ".3f"), ("seeds", "num_seeds", "d"),
    ("images", "num_images", "d"), ("groups", "num_groups", "d"), ("test", "test", "s"),
)  # fmt: skip
SHARE_COLUMNS = (
    ("subgroup", "attribute", "s"), ("source", "source", "s"), ("images", "images", "s"), ("count", "count", "d"),
    ("share", "share", ".1%"),
)  # fmt: skip


BY_AUROC = (
    "validation AUROC, which is drawn to that of the GAN and of all trials as far as one training is luck. A search of "
    "six trials or more ends by training its best again."
)
BY_DISTANCE = "the mean Frechet distance over the last quarter of a GAN's measurements."


def search_table(evidence: Evidence) -> list[Table | Note]:
    """The search's leaderboard; the difference to the paper only where the two can be compared."""
    rows, paper = leaderboard(evidence.trials).to_dict("records"), paper_row()["test_auroc"]
    reasons = [reason for reason in dict.fromkeys(row["comparable"] for row in rows) if reason != "yes"]
    letters = {reason: f"({chr(ord('a') + number % 26)})" for number, reason in enumerate(reasons)}
    for row in rows:
        row["delta"] = letters.get(row["comparable"], f"{row['test_auroc'] - paper:+.3f}")
        row["place"] = MISSING if pd.isna(row["rank"]) else f"{row['rank']}{'*' if row['pareto'] else ''}"
        row["note"] = "" if row["status"] in ("completed", "published") else row["status"]
    rows[0]["delta"] = MISSING
    if len(rows) > 1 and rows[1]["place"] != MISSING:
        rows[1]["note"] = "best of a search"
    frame = pd.DataFrame(map(gan_cells, rows))
    ranked_by = BY_DISTANCE if objective_of(evidence.trials) == "frechet" else BY_AUROC
    caption = (
        f"Trials of the search, ranked by {ranked_by} Row 0 is the paper. * Pareto front. Our IS is that of "
        f"{evidence.trials['feature_extractor'].iloc[0]}"
    )
    measured = evidence.searched[evidence.searched["status"] == "completed"].dropna(subset="frechet_distance")
    explained = against_references(measured)
    explained += [f"{letter} not comparable with the paper: {reason}." for reason, letter in letters.items()]
    table = Table("leaderboard", caption, frame, SEARCH_COLUMNS)
    return [table, Note(" ".join(explained))] if explained else [table]


def confirmed_tables(evidence: Evidence) -> list[Table | Note]:
    """Arms over seeds, the paper first, on test images and on an external test set; all metrics are folded."""
    rows = select(
        evidence.estimates, corruption="none", subgroup=None, training_fraction=1.0, split_protocol=evidence.protocol
    )
    if rows.empty or evidence.choice is None:
        return [Note("No arm was repeated over seeds yet: every figure above is of one seed.", CONFIRM)]
    figures = {metric: f"{paper_row()[f'test_{metric}']:.3f}" for metric in ("accuracy", "auroc", "f1", "tpr", "fpr")}
    paper = {"name": "the paper: real + synthetic", "gan": "plain, 2 LSTM layers"} | figures
    parts = []
    for side, group in rows.groupby("side", sort=False):
        title = f"Confirmed arms on {side} images"
        parts.append(_arms_table(f"confirmed_{side}", title, group, ("accuracy", "auroc", "tpr", "fpr"), paper=paper))
        parts.append(_arms_table(f"metrics_{side}", f"{title}, all metrics", group, METRICS, folded=True, paper=paper))
    return parts


def subgroup_tables(evidence: Evidence) -> list[Table | Note]:
    """The contrasted arms by subgroup, once there are any; then all arms, folded."""
    rows = evidence.estimates.dropna(subset="subgroup")
    if rows.empty:
        return [Note("No subgroup was looked at yet (skin tone is estimated, or named in a CSV).", CONFIRM)]
    title, metrics = "Test images by subgroup", ("auroc", "tpr", "fpr")
    tables = [_arms_table("subgroups_all_arms", f"{title}, all arms", rows, metrics, folded=True)]
    if evidence.contrasted_arms:
        contrasted = pd.concat([evidence.of_arm(rows, arm) for arm in evidence.contrasted_arms])
        tables.insert(0, _arms_table("subgroups", title, contrasted, metrics))
    return tables


def _arms_table(
    name: str, title: str, rows: pd.DataFrame, metrics: Iterable[str], folded: bool = False, paper: dict | None = None
) -> Table:
    """A row an arm, and a subgroup where `rows` of ESTIMATES have one; a column a metric."""
    arms = [] if paper is None else [paper]
    for (subgroup, gan, arm, key), group in rows.groupby(["subgroup", "gan", "arm", "classifier_key"], dropna=False):
        first = group.iloc[0]
        counts = first[["num_seeds", "num_images", "num_positive", "num_groups"]].to_dict()
        known = {"subgroup": subgroup, "gan": gan, "name": arm_name(arm), "classifier_key": key}
        arms.append(known | counts | {row.metric: _estimate(row) for row in group.itertuples()})
    frame = pd.DataFrame(arms)
    columns = [("arm", "name", "s"), ("GAN", "gan", "s")]
    columns += [(METRICS[metric], metric, "s") for metric in metrics if metric in frame]
    columns += [(name, f"num_{name}", ".0f") for name in ("seeds", "images", "groups")]
    if paper is None:
        columns = [("subgroup", "subgroup", "s"), *columns, ("positive", "num_positive", ".0f")]
    caption = f"{title}: mean ± standard deviation over seeds (95 % interval)"
    if frame["classifier_key"].nunique() > 1:
        columns.append(("classifier", "classifier_key", "s"))
    return Table(name, caption, frame, tuple(columns), folded)


def _estimate(row) -> str:
    """Mean and deviation, and the interval in a line of its own."""
    deviation = "" if pd.isna(row.sd) else f" ± {row.sd:.3f}"
    interval = "" if pd.isna(row.ci_low) else f"\n({row.ci_low:.3f} to {row.ci_high:.3f})"
    return f"{row.value:.3f}{deviation}{interval}"


def comparisons_table(evidence: Evidence) -> list[Table]:
    rows = evidence.comparisons
    if rows.empty:
        return []
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    interval = [MISSING if pd.isna(low) else f"{low:+.3f} to {high:+.3f}" for low, high in ends]
    frame = rows.assign(a=rows["arm_a"].map(arm_name), b=rows["arm_b"].map(arm_name), interval=interval)
    frame["classifier"] = frame["classifier_key"].map(evidence.classifiers)
    caption = (
        "All differences tested; p is adjusted by Holm within phase, question, classifier, outcome and side. The "
        "answer rests on the rows of phase judge, which alone are independent of the choice of the arm"
    )
    return [Table("comparisons", caption, frame, with_classifier(COMPARISON_COLUMNS, frame), folded=True)]


def generator_tables(evidence: Evidence) -> list[Table | Note]:
    """Every audited GAN by its main measures beside their floors, in the study's own features if its critic did not see
    them; then all measures, extractors and classes, folded."""
    rows, trial = evidence.generator_metrics, evidence.trials.iloc[0]
    if rows.empty:
        return [Note("No GAN was audited yet: quality by class, copying and collapse are not known.", AUDIT)]
    part = rows["label"].map({0: trial["negative_class"], 1: trial["positive_class"]}).fillna("both")
    frame = rows.assign(model=rows["confirms"].fillna(rows["trial_id"]), part=part)
    frame = frame.sort_values(["model", "seed", "feature_extractor", "label"], na_position="first")
    whole = select(frame, label=None)
    others = whole["feature_extractor"].ne(trial["feature_extractor"])
    once = whole[others.groupby(whole["gan_key"]).rank(method="first") == 1]
    once = once.assign(verdict=once["gan_key"].map(evidence.verdicts))
    caption = "Generator audit. Floor: the value of as many real training images; verdict: of all networks"
    return [
        Table("generator_audit", caption, once, AUDIT_COLUMNS),
        Table("generator_metrics", "Generator audit by network and class", frame, AUDIT_DETAILS, folded=True),
    ]


def share_table(evidence: Evidence) -> list[Table]:
    """How the real training images and each GAN's images divide among subgroups."""
    rows = evidence.attributes
    if rows.empty:
        return []
    rows = rows[(rows["side"] == "train") | (rows["kind"] == "synthetic")]
    trials = evidence.completed.dropna(subset="gan_key").drop_duplicates("gan_key").set_index("gan_key")
    models = trials["confirms"].fillna(trials["trial_id"]) + ", seed " + trials["seed"].astype(int).astype(str)
    synthetic = "synthetic, " + rows["gan_key"].map(models).astype(object).fillna("a GAN without a trial")
    shown = rows.assign(images=synthetic.where(rows["kind"] == "synthetic", "real, training"))
    counts = shown.groupby(["source", "attribute", "images"]).size().rename("count").reset_index()
    counts["share"] = counts["count"] / counts.groupby(["source", "images"])["count"].transform("sum")
    caption = "Share of each subgroup in real and in synthetic images"
    return [Table("subgroup_shares", caption, counts, SHARE_COLUMNS, folded=True)]
