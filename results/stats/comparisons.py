"""Differences between arms with interval and p-value: the table COMPARISONS.

Two arms are compared on the same images with the same seeds, classifier settings, split and part of the training set.
Only the leakage gap is a difference between two sets of images. Where a class lies in fewer than `MIN_GROUPS` groups a
row has its difference alone, without error, interval and p-value: what one or two wounds say of others is not known.
"""

from itertools import permutations

import numpy as np

from results.stats.scores import Scores, main_split
from results.stats.significance import (
    MIN_GROUPS,
    Difference,
    accuracy_covariance,
    auroc_covariance,
    holm,
    independent_difference,
    paired_difference,
)

METRICS = {"between GANs": ["auroc"]}  # of all other families accuracy, which the paper claims, and AUROC
SHARED = ("classifier_key", "training_fraction", "positive_fraction")  # equal in all arms that are compared
OF_OTHER_GROUPS = ("standard_error", "degrees_of_freedom", "p_value", "ci_low", "ci_high")
FILLED = "real_balanced_synthetic"
PAIRED = "paired t, seeds and groups random"
JUDGED = "Welch's t, seeds and groups random"
ONE_SEED = "paired t over groups, this one training"
UNPAIRED_TEST = "two independent clustered bootstraps"


def compare(scores: list[Scores]) -> list[dict]:
    """Rows of COMPARISONS from the scores of one study's confirmed trials.

    Families (a - b): "synthetic against real", "against oversampled", "classical augmentation", "few data", "few data
    against oversampled", "few positives" (the rarer class filled with synthetic images against each remedy without),
    "filtered against all" (the most real synthetic images against as many as they come) and "between GANs", all under
    the study's own split, and "leakage" (random - grouped split).
    Rows of phase "judge" are those of the chosen arm on seeds of their own.
    """
    arms = [arm for arm in scores if arm.condition["corruption"] == "none"]
    main = main_split(arms)
    rows = [
        {"family": family, "metric": metric, **row, **_unknown(a, b)}
        for a, b in permutations(arms, 2)
        if a.images.side == b.images.side and (family := _family(a.arm, b.arm, main))
        for metric in METRICS.get(family, ["accuracy", "auroc"])
        if (row := _compared(family, a, b, metric, arms)) is not None
    ]
    return _adjusted(rows)


def _unknown(a: Scores, b: Scores) -> dict:
    """The columns that too few groups of a class leave empty."""
    too_few = min(scores.images.groups_of_rarer_class for scores in (a, b)) < MIN_GROUPS
    return dict.fromkeys(OF_OTHER_GROUPS) if too_few else {}


def _compared(family: str, a: Scores, b: Scores, metric: str, arms: list[Scores]) -> dict | None:
    if family == "leakage":
        return _unpaired(a, b, metric)
    return _judged(a, b, metric, arms) if a.arm["phase"] == "judge" else _paired(a, b, metric)


def _family(a: dict, b: dict, main: str | None) -> str | None:
    """The family of two arms, given by their columns; None for two arms that are not compared."""
    differing = {name for name in a if a[name] != b[name]}
    if differing == {"split_protocol"} and a["split_protocol"] == "random":
        return "leakage"
    if differing & {*SHARED, "phase", "split_protocol"} or a["split_protocol"] != main:
        return None
    if a["arm"].startswith("real_balanced_") or b["arm"].startswith("real_balanced_"):
        return "few positives" if a["arm"].startswith(FILLED) and b["gan"] is None else None
    if differing == {"arm"} and a["arm"].startswith(f"{b['arm']}_kept_"):
        return "filtered against all"
    mixed, full = a["arm"].startswith("real_and_synthetic"), a["training_fraction"] == 1
    if b["arm"] == "real" and (mixed or (full and a["arm"].startswith("synthetic_only"))):
        return "synthetic against real" if full else "few data"
    if b["oversampling"] and a["arm"].split("_kept_")[0] == f"real_and_synthetic_{b['oversampling']:g}":
        return "against oversampled" if full else "few data against oversampled"
    if not full:
        return None
    if (a["arm"], b["arm"]) == ("real", "real_unaugmented"):
        return "classical augmentation"
    return "between GANs" if differing == {"gan"} and a["gan"] < b["gan"] else None


def _paired(a: Scores, b: Scores, metric: str) -> dict | None:
    """Arms that were repeated over the same seeds."""
    seeds, of_a, of_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    if not len(seeds):
        return None
    values, covariance = _measured(a, b, of_a, of_b, metric)
    found = paired_difference(values, covariance, a.images.counts["num_groups"])
    return _row(a, b, values, found, PAIRED if len(seeds) > 1 else ONE_SEED)


def _judged(a: Scores, b: Scores, metric: str, scores: list[Scores]) -> dict | None:
    """The chosen arm, on seeds that took no part in its choice; the choosing seeds tell how much trainings vary."""
    seeds, of_a, of_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    if len(seeds) < 2:
        return None
    values, covariance = _measured(a, b, of_a, of_b, metric)
    earlier = tuple(_choosing_values(arm, metric, scores) for arm in (a, b))
    found = independent_difference(values, covariance, a.images.counts["num_groups"], earlier)
    return _row(a, b, values, found, JUDGED)


def _measured(a: Scores, b: Scores, of_a: np.ndarray, of_b: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The metric (2S,) of the chosen seeds of both arms, and its covariance over groups (2S, 2S)."""
    images = a.images
    if metric == "auroc":
        probabilities = np.concatenate([a.probabilities[of_a], b.probabilities[of_b]])
        return auroc_covariance(images.labels, probabilities, images.groups)
    return accuracy_covariance(np.concatenate([a.correct[of_a], b.correct[of_b]]), images.groups)


def _choosing_values(arm: Scores, metric: str, scores: list[Scores]) -> np.ndarray:
    """The metric (C,) of the same arm's trainings with the seeds that the arm was chosen on; empty without any."""
    alike = [
        other for other in scores
        if other.images.side == arm.images.side and other.arm == arm.arm | {"phase": "confirm"}
    ]  # fmt: skip
    return np.concatenate([other.values(metric) for other in alike]) if alike else np.empty(0)


def _row(a: Scores, b: Scores, values: np.ndarray, found: Difference, test: str) -> dict:
    of_a, of_b = np.split(values, 2)
    return {
        **_columns(a, b, found.value, found.interval),
        "value_a": float(of_a.mean()),
        "value_b": float(of_b.mean()),
        "standard_error": found.standard_error,
        "degrees_of_freedom": found.degrees_of_freedom,
        "p_value": found.p_value,
        "test": test,
        "num_seeds": len(of_a),
        **a.images.counts,
    }


def _unpaired(a: Scores, b: Scores, metric: str) -> dict | None:
    """The leakage gap. The counts are those of both sets of images together, the seeds those of the arm with fewer."""
    parts = [scores.images.bootstrap.distribution(scores.resampled[metric]) for scores in (a, b)]
    distribution = parts[0] - parts[1]
    if np.isnan(distribution.value):
        return None
    error = np.hypot(parts[0].standard_error, parts[1].standard_error)
    return {
        **_columns(a, b, distribution.value, distribution.interval()),
        "arm_a": f"{a.arm['arm']} (random split)",
        "value_a": float(parts[0].value),
        "value_b": float(parts[1].value),
        "standard_error": float(error),
        "degrees_of_freedom": None,
        "p_value": Difference(distribution.value, error, np.inf).p_value,
        "test": UNPAIRED_TEST,
        "num_seeds": min(len(a.seeds), len(b.seeds)),
        **{name: count + b.images.counts[name] for name, count in a.images.counts.items()},
    }


def _columns(a: Scores, b: Scores, difference: float, interval: tuple) -> dict:
    gans = [gan for gan in dict.fromkeys([a.arm["gan"], b.arm["gan"]]) if gan is not None]
    return {
        **{name: a.arm[name] for name in ("study", "phase", "split_protocol", *SHARED)},
        "gan": " - ".join(gans) or None,
        "arm_a": a.arm["arm"],
        "arm_b": b.arm["arm"],
        "side": a.images.side,
        "difference": float(difference),
        "ci_low": interval[0],
        "ci_high": interval[1],
    }


def _adjusted(rows: list[dict]) -> list[dict]:
    """The rows with p_adjusted: Holm within phase, family, classifier, metric and side; accuracy and AUROC of a
    judgement are one family. Rows without a p-value are in none."""
    families: dict[tuple, list[dict]] = {}
    for row in rows:
        row["p_adjusted"] = None
        if row["p_value"] is None:
            continue
        metric = None if row["phase"] == "judge" else row["metric"]
        key = (row["phase"], row["family"], row["classifier_key"], metric, row["side"])
        families.setdefault(key, []).append(row)
    for family in families.values():
        for row, p_value in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_adjusted"] = float(p_value)
    return rows
