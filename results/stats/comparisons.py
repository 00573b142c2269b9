"""Differences between arms with interval and p-value: the table COMPARISONS.

Two arms are compared on the same images with the same seeds, classifier settings, split and part of the training set.
Only the leakage gap is a difference between two sets of images.
"""

from itertools import permutations

import numpy as np
from scipy.stats import norm

from results.stats.bootstrap import BootstrapDistribution
from results.stats.scores import Scores, main_split
from results.stats.significance import accuracy_permutation_test, delong_test, holm

METRICS = {"between GANs": ["auroc"]}  # of all other families accuracy, which the paper claims, and AUROC
ONE_SEED = "clustered DeLong, this one training"
TESTS = {"auroc": "clustered DeLong, seeds random", "accuracy": "exact paired permutation by group, these networks"}
UNPAIRED_TEST = "two independent clustered bootstraps"


def compare(scores: list[Scores]) -> list[dict]:
    """Rows of COMPARISONS from the scores of one study's confirmed trials.

    Families (a - b): "synthetic against real", "against oversampled", "classical augmentation", "few data", "few data
    against oversampled" and "between GANs", all under the study's own split, and "leakage" (random - grouped split).
    """
    arms = [arm for arm in scores if arm.condition["corruption"] == "none"]
    main = main_split(arms)
    rows = [
        {"family": family, "metric": metric, **row}
        for a, b in permutations(arms, 2)
        if a.images.side == b.images.side and (family := _family(a.arm, b.arm, main))
        for metric in METRICS.get(family, ["accuracy", "auroc"])
        if (row := (_unpaired if family == "leakage" else _paired)(a, b, metric)) is not None
    ]
    return _adjusted(rows)


def _family(a: dict, b: dict, main: str | None) -> str | None:
    """The family of two arms, given by their columns; None for two arms that are not compared."""
    differing = {name for name in a if a[name] != b[name]}
    if differing == {"split_protocol"} and a["split_protocol"] == "random":
        return "leakage"
    if differing & {"classifier_key", "split_protocol", "training_fraction"} or a["split_protocol"] != main:
        return None
    mixed, full = a["arm"].startswith("real_and_synthetic"), a["training_fraction"] == 1
    if b["arm"] == "real" and (mixed or (full and a["arm"].startswith("synthetic_only"))):
        return "synthetic against real" if full else "few data"
    if b["oversampling"] and a["arm"] == f"real_and_synthetic_{b['oversampling']:g}":
        return "against oversampled" if full else "few data against oversampled"
    if not full:
        return None
    if (a["arm"], b["arm"]) == ("real", "real_unaugmented"):
        return "classical augmentation"
    return "between GANs" if differing == {"gan"} and a["gan"] < b["gan"] else None


def _paired(a: Scores, b: Scores, metric: str) -> dict | None:
    seeds, of_a, of_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    if not len(seeds):
        return None
    values_a, values_b = a.resampled[metric][of_a], b.resampled[metric][of_b]
    distribution = a.images.bootstrap.distribution(values_a - values_b)
    if np.isnan(distribution.value):
        return None
    labels, groups = a.images.labels, a.images.groups
    if metric == "auroc":
        p_value = delong_test(labels, a.probabilities[of_a], b.probabilities[of_b], groups).p_value
    else:
        p_value = accuracy_permutation_test(_correct(a)[of_a], _correct(b)[of_b], groups)[1]
    return {
        **_columns(a, b, distribution),
        "value_a": float(values_a[:, 0].mean()),
        "value_b": float(values_b[:, 0].mean()),
        "p_value": p_value,
        "test": ONE_SEED if metric == "auroc" and len(seeds) == 1 else TESTS[metric],
        "num_seeds": len(seeds),
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
        **_columns(a, b, distribution),
        "arm_a": f"{a.arm['arm']} (random split)",
        "value_a": float(parts[0].value),
        "value_b": float(parts[1].value),
        "p_value": float(2 * norm.sf(abs(distribution.value) / error)) if error else float(distribution.value == 0),
        "test": UNPAIRED_TEST,
        "num_seeds": min(len(a.seeds), len(b.seeds)),
        **{name: count + b.images.counts[name] for name, count in a.images.counts.items()},
    }


def _correct(scores: Scores) -> np.ndarray:
    return (scores.probabilities >= scores.thresholds[:, None]) == (scores.images.labels == 1)


def _columns(a: Scores, b: Scores, distribution: BootstrapDistribution) -> dict:
    low, high = distribution.interval()
    gans = [gan for gan in dict.fromkeys([a.arm["gan"], b.arm["gan"]]) if gan is not None]
    return {
        **{name: a.arm[name] for name in ("study", "classifier_key", "split_protocol", "training_fraction")},
        "gan": " - ".join(gans) or None,
        "arm_a": a.arm["arm"],
        "arm_b": b.arm["arm"],
        "side": a.images.side,
        "difference": float(distribution.value),
        "ci_low": low,
        "ci_high": high,
    }


def _adjusted(rows: list[dict]) -> list[dict]:
    """The rows with p_adjusted: Holm within family, metric and side."""
    families: dict[tuple, list[dict]] = {}
    for row in rows:
        families.setdefault((row["family"], row["metric"], row["side"]), []).append(row)
    for family in families.values():
        for row, p_value in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_adjusted"] = float(p_value)
    return rows
