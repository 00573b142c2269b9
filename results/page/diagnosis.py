"""How well the classifiers diagnose: differences, ROC, few data, robustness, leakage."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score, roc_curve

from results.page.figure import OTHERS, SMALL, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import CONFIRM, Note
from results.stats.evidence import Evidence, arm_name, select
from results.stats.significance import MIN_GROUPS
from results.tables.published import claimed_gain

FALSE_POSITIVE_RATES = np.linspace(0, 1, 101)
ARM = ["arm", "gan", "classifier_key"]
REPLICATES = 200  # of the bootstrap behind the ROC's band
WHOLE = {"side": "test", "corruption": "none", "subgroup": None}  # of ESTIMATES: all test images, as photographed


def differences(evidence: Evidence) -> Drawing | Note:
    """Every arm with synthetic images against real images alone, in accuracy, beside the paper's claim."""
    rows = select(
        evidence.comparisons, phase="confirm", family="synthetic against real", metric="accuracy", side="test",
        training_fraction=1.0, split_protocol=evidence.protocol,
    ).sort_values(["gan", "arm_a"], ascending=False)  # fmt: skip
    if rows.empty:
        return Note("No arm was compared with real images alone yet.", CONFIRM)
    figure, (axes,) = new_figure((SMALL[0], 1.4 + 0.35 * len(rows)))
    low, high = claimed_gain()
    axes.axvspan(100 * low, 100 * high, color=look(1)["color"], alpha=0.3, linewidth=0, label="the paper's claim")
    axes.axvline(0, color=OTHERS, linewidth=1)
    points = 100 * rows[["difference", "ci_low", "ci_high"]]
    error = [points["difference"] - points["ci_low"], points["ci_high"] - points["difference"]]
    style = {"fmt": "o", "color": look(0)["color"], "label": "95 % interval"}
    axes.errorbar(points["difference"], np.arange(len(rows)), xerr=error, **style)
    left, right = axes.get_xlim()
    axes.set(xlabel="points of test accuracy over real images", xlim=(max(left, -100), min(right, 100)))
    names = rows["gan"] + ": " + rows["arm_a"].map(arm_name)
    axes.set_yticks(range(len(rows)), names.str.replace(": ", ":\n"))
    legend_below(figure, axes)
    listed = "; ".join(
        f"{name} {value:+.1f}" + ("" if pd.isna(low) else f" ({low:+.1f} to {high:+.1f})")
        for name, (value, low, high) in zip(names, points.itertuples(index=False), strict=True)
    )
    title = "Accuracy with synthetic images minus accuracy with real images alone"
    return Drawing("differences", title, f"Points of accuracy: {listed}.", figure)


def roc(evidence: Evidence) -> Drawing | Note:
    """Mean over seeds, and the 95 % range over resampled groups, of which each class needs `MIN_GROUPS`."""
    figure, (axes,) = new_figure()
    rows = select(evidence.predictions, side="test", corruption="none")
    listed = []
    for number, (name, trials) in enumerate(evidence.contrasts.items()):
        of_arm = rows[rows["trial_id"].isin(trials["trial_id"])]
        index = ["image_id", "group", "label"]
        probabilities = of_arm.pivot(index=index, columns="trial_id", values="probability").dropna()
        labels = probabilities.index.get_level_values("label").to_numpy()
        if len(set(labels)) < 2:
            continue
        auroc = np.mean([roc_auc_score(labels, probabilities[trial]) for trial in probabilities])
        style = look(number) | {"marker": ""}
        axes.plot(FALSE_POSITIVE_RATES, mean_roc(probabilities), label=f"{name}: {auroc:.3f}", **style)
        if min(probabilities.reset_index().groupby("label")["group"].nunique()) >= MIN_GROUPS:
            band = roc_band(probabilities)
            axes.fill_between(FALSE_POSITIVE_RATES, *band, color=style["color"], alpha=0.15, linewidth=0)
        counts = f"n = {len(labels)}, {labels.sum()} positive, seeds: {probabilities.shape[1]}"
        listed.append(f"{name} {auroc:.3f} ({counts})")
    if not listed:
        return Note("No predictions of test images are stored yet: no ROC, reliability or confidence bands.", CONFIRM)
    axes.plot([0, 1], [0, 1], color=OTHERS, linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    legend_below(figure, axes)
    return Drawing("roc", "ROC on test images", f"Area under the curve: {'; '.join(listed)}.", figure)


def mean_roc(probabilities: pd.DataFrame, weights: np.ndarray | None = None) -> np.ndarray:
    """The true positive rate at FALSE_POSITIVE_RATES, averaged over trials.

    `probabilities`: test images, with group and label in the index, x trials; `weights`: [images].
    """
    labels = probabilities.index.get_level_values("label")
    curves = [roc_curve(labels, probabilities[trial], sample_weight=weights) for trial in probabilities]
    return np.mean([np.interp(FALSE_POSITIVE_RATES, fpr, tpr) for fpr, tpr, _ in curves], axis=0)


def roc_band(probabilities: pd.DataFrame) -> np.ndarray:
    """[2, FALSE_POSITIVE_RATES]: the 2.5th and 97.5th percentile over REPLICATES draws of whole groups."""
    draws = np.random.default_rng(0)
    positive = probabilities.index.get_level_values("label").to_numpy() == 1
    codes, groups = pd.factorize(probabilities.index.get_level_values("group"))
    shares = np.full(len(groups), 1 / len(groups))
    weights = (draws.multinomial(len(groups), shares)[codes] for _ in range(REPLICATES))
    curves = [mean_roc(probabilities, w) for w in weights if w[positive].any() and w[~positive].any()]
    return np.percentile(curves, [2.5, 97.5], axis=0)


def few_data(evidence: Evidence) -> Drawing | Note:
    """AUROC and accuracy against the part of the training groups that is used, for each arm trained on parts."""
    rows = select(evidence.estimates, **WHOLE, split_protocol=evidence.protocol)
    rows = rows[rows.groupby(ARM, dropna=False)["training_fraction"].transform("min") < 1]
    rows = rows.sort_values("training_fraction")
    if rows.empty:
        return Note("No arm was trained on a part of the data yet.", CONFIRM)
    figure, axes = new_figure(WIDE, columns=2)
    listed = []
    for number, ((arm, gan, _), curve) in enumerate(rows.groupby(ARM, dropna=False)):
        name = _arm_and_gan(arm, gan)
        for axis, metric in zip(axes, ("auroc", "accuracy"), strict=True):
            points = curve[curve["metric"] == metric]
            axis.errorbar(100 * points["training_fraction"], points["value"], **_bars(points, number, name))
            if metric == "auroc":
                fractions = zip(points["training_fraction"], points["value"], strict=True)
                listed += [f"{name} at {fraction:.0%}: {auroc:.3f}" for fraction, auroc in fractions]
    for axis, metric in zip(axes, ("AUROC", "accuracy"), strict=True):
        axis.set(xlabel="training groups used, %", ylabel=f"test {metric}", xscale="log")
        axis.set_xticks([10, 25, 50, 100], ["10", "25", "50", "100"])
        axis.minorticks_off()
    legend_below(figure, axes[0], columns=3)
    return Drawing("few_data", "Diagnosis by share of the training groups", f"AUROC of {'; '.join(listed)}.", figure)


def robustness(evidence: Evidence) -> Drawing | Note:
    """AUROC against the strength of each corruption of the test images; strength 0 is the unchanged image."""
    rows = select(
        evidence.estimates,
        side="test", metric="auroc", subgroup=None, training_fraction=1.0, split_protocol=evidence.protocol,
    )  # fmt: skip
    curves = {arm_name(arm): evidence.of_arm(rows, arm) for arm in evidence.contrasted_arms}
    corruptions = sorted({name for curve in curves.values() for name in curve["corruption"]} - {"none"})
    if not corruptions:
        return Note("No test images were corrupted yet.", CONFIRM)
    rows = -(-len(corruptions) // 3)
    figure, axes = new_figure((WIDE[0], 0.7 + 2.1 * rows), rows, 3, sharex=True, sharey=True)
    listed = []
    for axis, corruption in zip(axes, corruptions, strict=False):
        for number, (name, curve) in enumerate(curves.items()):
            points = curve[curve["corruption"].isin(["none", corruption])].sort_values("strength")
            if points.empty:  # the arm has not been estimated yet
                continue
            axis.errorbar(points["strength"], points["value"], **_bars(points, number, name))
            listed.append(f"{corruption}, {name} {points['value'].iloc[0]:.3f} to {points['value'].iloc[-1]:.3f}")
        axis.set(title=corruption.replace("_", " "), xticks=range(4))
    for axis in axes[-3:]:
        axis.set_xlabel("strength")
    for axis in axes[::3]:
        axis.set_ylabel("test AUROC")
    legend_below(figure, axes[0], columns=3)
    alt = f"AUROC from strength 0 to 3: {'; '.join(listed)}."
    return Drawing("robustness", "AUROC on corrupted test images", alt, figure)


def leakage(evidence: Evidence) -> Drawing | Note:
    """AUROC of the arms that were trained under both the split by groups and the random split."""
    rows = select(evidence.estimates, **WHOLE, training_fraction=1.0, metric="auroc")
    rows = rows[rows.groupby(ARM, dropna=False)["split_protocol"].transform("nunique") == 2]
    rows = rows.sort_values(["split_protocol", "arm"])
    if rows.empty:
        return Note("No arm was trained under the other split yet.", CONFIRM)
    figure, (axes,) = new_figure()
    rows = rows.assign(name=list(map(_arm_and_gan, rows["arm"], rows["gan"])))
    names = list(dict.fromkeys(rows["name"]))
    for number, (protocol, group) in enumerate(rows.groupby("split_protocol")):
        places = group["name"].map(names.index) + 0.12 * (2 * number - 1)
        style = look(number) | {"linestyle": "", "label": f"{protocol} split"}
        axes.errorbar(group["value"], places, xerr=_reach(group), **style)
    axes.set(xlabel="test AUROC", ylim=(-0.5, len(names) - 0.5))
    axes.set_yticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    legend_below(figure, axes)
    listed = "; ".join(f"{row.name}, {row.split_protocol} split {row.value:.3f}" for row in rows.itertuples())
    protocols = " and ".join(f"the {protocol} split" for protocol in dict.fromkeys(rows["split_protocol"]))
    return Drawing("leakage", f"AUROC under {protocols}", f"AUROC of {listed}.", figure)


def _arm_and_gan(arm: str, gan: str | None) -> str:
    return arm_name(arm) + (f" ({gan})" if isinstance(gan, str) else "")


def _reach(rows: pd.DataFrame) -> list[pd.Series]:
    """The interval's reach below and above the value; a bar is left out where there is no interval."""
    return [(rows["value"] - rows["ci_low"]).clip(0), (rows["ci_high"] - rows["value"]).clip(0)]


def _bars(rows: pd.DataFrame, number: int, label: str) -> dict:
    return {"yerr": _reach(rows), "capsize": 2, "elinewidth": 0.8, "label": label, **look(number)}
