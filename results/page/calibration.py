"""Whether a probability means what it says: the reliability curve with its counts, and the paper's confidence bands."""

import pandas as pd

from results.page.figure import OTHERS, Drawing, legend_below, look, new_figure
from results.page.parts import Table
from results.stats.evidence import Evidence, select
from results.stats.metrics import confidence_bands, reliability_bins

COLUMNS = (
    ("from", "low", ".2f"), ("to", "high", ".2f"), ("predictions", "num_images", "d"),
    ("mean probability", "mean_probability", ".3f"), ("share positive", "share_positive", ".3f"),
)  # fmt: skip


def reliability(evidence: Evidence) -> list[Drawing | Table]:
    """Share of positives against probability, and the images in each bin; empty without predictions."""
    rows = select(evidence.predictions, side="test", corruption="none").dropna(subset="probability")
    pools = {name: rows[rows["trial_id"].isin(trials["trial_id"])] for name, trials in evidence.contrasts.items()}
    pools = {name: pool for name, pool in pools.items() if len(pool)}
    if not pools:
        return []
    bins, bands = (
        pd.DataFrame(
            {"arm": name} | row for name, pool in pools.items() for row in counted(pool["label"], pool["probability"])
        )
        for counted in (reliability_bins, confidence_bands)
    )
    captions = "Reliability by bin, seeds pooled", "Share of positives in the paper's confidence bands, seeds pooled"
    return [
        _curve(pools, bins),
        Table("reliability", captions[0], bins, (("arm", "arm", "s"), *COLUMNS), folded=True),
        Table("confidence_bands", captions[1], bands, (("arm", "arm", "s"), ("band", "band", "s"), *COLUMNS)),
    ]


def _curve(pools: dict[str, pd.DataFrame], bins: pd.DataFrame) -> Drawing:
    figure, (curve, counts) = new_figure((4.6, 4.0), rows=2, sharex=True, height_ratios=[3, 1])
    for number, (name, rows) in enumerate(bins.groupby("arm", sort=False)):
        curve.plot(rows["mean_probability"], rows["share_positive"], label=name, **look(number))
        counts.plot((rows["low"] + rows["high"]) / 2, rows["num_images"], **look(number) | {"linewidth": 0.8})
    curve.plot([0, 1], [0, 1], color=OTHERS, linewidth=0.8, linestyle=":")
    curve.set(ylabel="share of positives")
    counts.set(xlabel="probability of the positive class", ylabel="images", ylim=(0, None))
    legend_below(figure, curve)
    listed = "; ".join(
        f"{name} {len(pool)} predictions, mean probability {pool['probability'].mean():.3f}, "
        f"share of positives {pool['label'].mean():.3f}"
        for name, pool in pools.items()
    )
    return Drawing("reliability", "Reliability on test images", f"Seeds pooled: {listed}.", figure)
