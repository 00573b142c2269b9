"""The benchmark's arms on few images, beside those without synthetic images."""

import pandas as pd

from results.page.parts import MISSING, Table, gain, spread, with_classifier
from results.stats.evidence import Evidence, arm_name, select
from results.tables.schema import BENCHMARK

COLUMNS = (
    ("positives used", "share", ".3g"), ("training images", "arm", "s"), ("system", "system", "s"),
    ("seeds", "seeds", "d"), ("sensitivity", "sensitivity", "s"), ("specificity", "specificity", "s"),
    ("AUROC", "test_auroc", "s"), ("AUROC gain", "auroc", "s"), ("accuracy gain", "accuracy", "s"),
)  # fmt: skip


def few_positives_table(evidence: Evidence) -> list[Table]:
    """A row a share of the positives, classifier and arm, with the gain over the remedy without synthetic images that
    is best on validation; nothing where no share was looked at."""
    trials = select(evidence.completed, phase=BENCHMARK)
    shares = sorted({share for share in trials["positive_fraction"] if share < 1})
    rows = [
        row
        for share in shares
        for key in evidence.classifiers
        if len(part := select(trials, positive_fraction=share, classifier_key=key))
        for row in rows_of_share(evidence, part)
    ]
    if not rows:
        return []
    caption = (
        "Few positives: test images, means ± standard deviations over seeds; * is the remedy without synthetic images "
        "with the highest mean AUROC on validation, over which the gains are, paired by seed (95 % interval)"
    )
    frame = pd.DataFrame(rows)
    return [Table("few_positives", caption, frame, with_classifier(COLUMNS, frame))]


def rows_of_share(evidence: Evidence, trials: pd.DataFrame) -> list[dict]:
    """The arms of one share of the positives and one classifier, remedies without synthetic images first."""
    remedies = trials[trials["confirms"].isna()].groupby("arm")["validation_auroc"].mean().dropna()
    best = remedies.idxmax() if len(remedies) else None
    share, classifier = trials.iloc[0][["positive_fraction", "classifier_key"]]
    gains = select(
        evidence.comparisons, phase=BENCHMARK, family="few positives", side="test", arm_b=best,
        positive_fraction=share, classifier_key=classifier,
    )  # fmt: skip
    return [
        {
            "share": share,
            "classifier": evidence.classifiers[classifier],
            "arm": arm_name(arm) + (" *" if arm == best and not system else ""),
            "system": system or MISSING,
            "seeds": len(group),
            "sensitivity": spread(group["test_tpr"], 3),
            "specificity": spread(1 - group["test_fpr"], 3),
            "test_auroc": spread(group["test_auroc"], 3),
            **{metric: gain(select(gains, metric=metric, gan=system, arm_a=arm)) for metric in ("auroc", "accuracy")},
        }
        for (system, arm), group in trials.assign(confirms=trials["confirms"].fillna("")).groupby(["confirms", "arm"])
    ]
