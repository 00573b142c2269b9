"""The benchmark's arms on few images, beside those without synthetic images."""

import pandas as pd

from results.page.parts import MISSING, Table, gain, spread, with_classifier
from results.stats.evidence import Evidence, arm_name, select
from results.tables.schema import BENCHMARK

COLUMNS = (
    ("training images", "arm", "s"), ("system", "system", "s"),
    ("seeds", "seeds", "d"), ("sensitivity", "sensitivity", "s"), ("specificity", "specificity", "s"),
    ("AUROC", "test_auroc", "s"), ("AUROC gain", "auroc", "s"), ("accuracy gain", "accuracy", "s"),
)  # fmt: skip


def few_positives_table(evidence: Evidence) -> list[Table]:
    """A row a share of the positives, classifier and arm, with the gain over the remedy without synthetic images that
    is best on validation; nothing where no share was looked at."""
    rows = []
    for part in parts_by(evidence, "positive_fraction"):
        remedies = part[part["confirms"].isna()].groupby("arm")["validation_auroc"].mean().dropna()
        best = remedies.idxmax() if len(remedies) else None
        rows += rows_of_part(evidence, part, "positive_fraction", "few positives", best)
    caption = (
        "Few positives: test images, means ± standard deviations over seeds; * is the remedy without synthetic images "
        "with the highest mean AUROC on validation, over which the gains are, paired by seed (95 % interval)"
    )
    return table_of_parts("few_positives", "positives used", caption, rows)


def few_data_table(evidence: Evidence) -> list[Table]:
    """A row a fraction of the training groups, classifier and arm, with the gain over real images alone of the same
    groups; nothing where no fraction was looked at."""
    parts = parts_by(evidence, "training_fraction")
    rows = [row for part in parts for row in rows_of_part(evidence, part, "training_fraction", "few data", "real")]
    caption = (
        "Few data: GAN and classifier on a part of the training groups; unlabelled: in the first half of an equally "
        "long training the GAN has seen all training groups' images, without labels. Test images, means ± standard "
        "deviations over seeds; * is real images alone, over which the gains are, paired by seed (95 % interval)"
    )
    return table_of_parts("few_groups", "data used", caption, rows)


def parts_by(evidence: Evidence, share: str) -> list[pd.DataFrame]:
    """The benchmark's trials whose column `share` is below 1: of each value and classifier by themselves."""
    trials = select(evidence.completed, phase=BENCHMARK)
    values = sorted({value for value in trials[share] if value < 1})
    parts = (select(trials, **{share: value}, classifier_key=key) for value in values for key in evidence.classifiers)
    return [part for part in parts if len(part)]


def rows_of_part(
    evidence: Evidence, trials: pd.DataFrame, share: str, family: str, reference: str | None
) -> list[dict]:
    """The arms of one part of the training groups and one classifier, those without synthetic images first, with the
    gains over the arm `reference`."""
    alike = trials.iloc[0][["training_fraction", "positive_fraction", "classifier_key"]]
    gains = select(
        evidence.comparisons, phase=BENCHMARK, family=family, side="test", arm_b=reference, **alike.to_dict()
    )
    return [
        {
            "share": alike[share],
            "classifier": evidence.classifiers[alike["classifier_key"]],
            "arm": arm_name(arm) + (" *" if arm == reference and not system else ""),
            "system": system or MISSING,
            "seeds": len(group),
            "sensitivity": spread(group["test_tpr"], 3),
            "specificity": spread(1 - group["test_fpr"], 3),
            "test_auroc": spread(group["test_auroc"], 3),
            **{metric: gain(select(gains, metric=metric, gan=system, arm_a=arm)) for metric in ("auroc", "accuracy")},
        }
        for (system, arm), group in trials.assign(confirms=trials["confirms"].fillna("")).groupby(["confirms", "arm"])
    ]


def table_of_parts(name: str, share: str, caption: str, rows: list[dict]) -> list[Table]:
    """The rows as a table whose first column is headed `share`; nothing without rows."""
    if not rows:
        return []
    frame = pd.DataFrame(rows)
    return [Table(name, caption, frame, with_classifier(((share, "share", ".3g"), *COLUMNS), frame))]
