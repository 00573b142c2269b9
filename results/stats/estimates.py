"""Mean, standard deviation over seeds and 95 % interval of every arm, condition and metric: the table ESTIMATES.

The intervals come from `bootstrap.py`. ECE has none: resampling adds to its upward bias, and no bootstrap interval
came near its nominal coverage on simulated data.
"""

import numpy as np
import pandas as pd

from results.stats.scores import ImageSet, Scores, main_split
from results.stats.significance import MIN_GROUPS
from results.tables.schema import BENCHMARK, ESTIMATES

METRICS = ["auroc", "auprc", "accuracy", "f1", "mcc", "tpr", "fpr", "sensitivity_at_95_specificity", "brier", "ece"]
SUBGROUP_METRICS = ["auroc", "tpr", "fpr"]
WITHOUT_INTERVAL = {"ece"}
OF_BOTH_CLASSES = {"auroc", "auprc", "mcc", "sensitivity_at_95_specificity"}  # need MIN_GROUPS groups of each


def estimate(arms: list[Scores], attributes: pd.DataFrame) -> list[dict]:
    """Rows of ESTIMATES from the scores and the table ATTRIBUTES of one study; undefined metrics have no row.

    The judging seeds, which only two or three arms have, are left to COMPARISONS.
    """
    arms = [scores for scores in arms if scores.arm["phase"] not in ("judge", BENCHMARK)]
    rows = [row for scores in arms for row in _rows(scores, METRICS, subgroup=None)]
    return rows + _subgroup_rows(arms, attributes)


def _subgroup_rows(arms: list[Scores], attributes: pd.DataFrame) -> list[dict]:
    """Rows by attribute of the unchanged test images, for arms with all training data under the study's own split."""
    real = attributes[attributes["kind"] == "real"]
    names = real["attribute"].where(real["source"] == "file", real["attribute"] + " (" + real["source"] + ")")
    members = real.groupby(names)["image_id"].agg(set)
    main = main_split(arms)
    whole = [
        scores for scores in arms
        if scores.images.side == "test" and scores.condition["corruption"] == "none"
        and scores.arm["split_protocol"] == main and scores.arm["training_fraction"] == 1
    ]  # fmt: skip
    parts: dict[str, ImageSet] = {}  # shared by the arms, with their resamples
    rows = []
    for subgroup, ids in members.items():
        for scores in whole:
            mask = np.array([image in ids for image in scores.images.ids])
            if mask.any():
                part = parts.setdefault(subgroup, scores.images.where(mask))
                rows += _rows(scores.on(part, mask), SUBGROUP_METRICS, subgroup)
    return rows


def _rows(scores: Scores, metrics: list[str], subgroup: str | None) -> list[dict]:
    return [
        row
        for metric in metrics
        if metric in scores.resampled and (row := _row(scores, metric, subgroup))["value"] is not None
    ]


def _row(scores: Scores, metric: str, subgroup: str | None) -> dict:
    values = scores.resampled[metric]
    distribution = scores.images.bootstrap.distribution(values)
    too_few = metric in OF_BOTH_CLASSES and scores.images.groups_of_rarer_class < MIN_GROUPS
    low, high = (None, None) if too_few or metric in WITHOUT_INTERVAL else distribution.interval()
    return {
        **{name: value for name, value in scores.arm.items() if name in ESTIMATES.names},
        **scores.condition,
        "side": scores.images.side,
        "subgroup": subgroup,
        "metric": metric,
        "value": None if np.isnan(distribution.value) else distribution.value,
        "sd": float(values[:, 0].std(ddof=1)) if len(values) > 1 else None,
        "ci_low": low,
        "ci_high": high,
        "num_seeds": len(values),
        **scores.images.counts,
    }
