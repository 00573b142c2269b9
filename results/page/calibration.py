"""Whether a probability means what it says: the reliability curve with its counts, and the paper's confidence bands."""

import pandas as pd

from results.page.figure import OTHERS, Drawing, legend_below, look, new_figure
from results.page.parts import Table
from results.stats.evidence import Evidence, select
from results.stats.metrics import confidence_bands, reliability_bins


def pooled(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Name -> predictions of the unchanged test images by all seeds of an arm."""
    rows = select(evidence.predictions, side="test", corruption="none").dropna(subset="probability")
    pools = {name: rows[rows["trial_id"].isin(trials["trial_id"])] for name, trials in evidence.contrasts.items()}
    return {name: pool for name, pool in pools.items() if len(pool)}


def reliability(evidence: Evidence) -> list[Drawing | Table]:
    """Share of positives against probability, above the number of images in each bin; nothing without predictions."""
    pools = pooled(evidence)
    if not pools:
        return []
    bins = {name: pd.DataFrame(reliability_bins(pool["label"], pool["probability"])) for name, pool in pools.items()}
    figure, (curve, counts) = new_figure((4.6, 4.0), rows=2, sharex=True, height_ratios=[3, 1])
    for number, (name, rows) in enumerate(bins.items()):
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
    drawing = Drawing("reliability", "Reliability on test images", f"Seeds pooled: {listed}.", figure)
    frame = pd.concat(rows.assign(arm=name) for name, rows in bins.items())
    return [drawing, _bins_table(frame), _bands_table(pools)]


def _bins_table(frame: pd.DataFrame) -> Table:
    columns = (("arm", "arm", "s"), ("from", "low", ".2f"), ("to", "high", ".2f"),
               ("predictions", "num_images", "d"), ("mean probability", "mean_probability", ".3f"),
               ("share positive", "share_positive", ".3f"))  # fmt: skip
    return Table("reliability", "Reliability by bin, seeds pooled", frame, columns, folded=True)


def _bands_table(pools: dict[str, pd.DataFrame]) -> Table:
    frame = pd.DataFrame(
        {"arm": name} | band
        for name, pool in pools.items()
        for band in confidence_bands(pool["label"], pool["probability"])
    )
    columns = (("arm", "arm", "s"), ("band", "band", "s"), ("from", "low", ".2f"), ("to", "high", ".2f"),
               ("predictions", "num_images", "d"), ("mean probability", "mean_probability", ".3f"),
               ("share positive", "share_positive", ".3f"))  # fmt: skip
    caption = "The paper's confidence bands: how often such a score was right, seeds pooled"
    return Table("confidence_bands", caption, frame, columns)
