"""How GANs and classifiers trained: one line a model, a band where it was trained with several seeds."""

import pandas as pd
from matplotlib.axes import Axes

from results.page.figure import OTHERS, Drawing, legend_below, look, new_figure
from results.page.parts import RESUME, Note
from results.stats.evidence import Evidence, arm_name

SHOWN = 6  # lines with a colour of their own; the rest are grey


def training_figures(evidence: Evidence) -> list[Drawing | Note]:
    gans, classifiers = gan_history(evidence), classifier_history(evidence)
    figures = []
    if len(gans):
        figures += [_frechet(evidence, gans), _wasserstein(gans)]
    if len(classifiers):
        figures.append(_classifier(classifiers))
    return figures or [Note("No training was recorded yet.", RESUME)]


def gan_history(evidence: Evidence) -> pd.DataFrame:
    """Reports of each GAN once, with the columns model (the trial of the search it belongs to) and run (the GAN)."""
    trials = evidence.trials[_comparable(evidence)]
    reports = evidence.history[evidence.history["stage"] == "gan"].drop(columns="gan_key")
    reports = reports.merge(trials[["trial_id", "gan_key", "confirms"]], on="trial_id").sort_values(
        ["trial_id", "epoch"]
    )
    reports["run"] = reports["gan_key"].fillna(reports["trial_id"])  # a stopped GAN has no key in its row
    reports = reports.drop_duplicates(["run", "epoch"])
    first = reports.groupby("run")["trial_id"].transform("first")
    return reports.assign(model=reports["confirms"].fillna(first))


def classifier_history(evidence: Evidence) -> pd.DataFrame:
    """Reports of classifiers, with the columns model and run: of the contrasted arms, of all trials before those."""
    arms = [evidence.of_arm(evidence.main, arm) for arm in evidence.contrasted_arms]
    trials = pd.concat(arms) if arms else evidence.searched
    models = trials["arm"].map(arm_name) if arms else trials["trial_id"]
    reports = evidence.history[evidence.history["stage"] == "classifier"]
    reports = reports.merge(trials[["trial_id"]].assign(model=models), on="trial_id")
    return reports.assign(run=reports["trial_id"])


def _comparable(evidence: Evidence) -> pd.Series:
    return (evidence.trials["training_fraction"] == 1.0) & (evidence.trials["split_protocol"] == evidence.protocol)


def _frechet(evidence: Evidence, gans: pd.DataFrame) -> Drawing:
    figure, (axes,) = new_figure()
    final = draw_lines(axes, gans, "frechet_distance", ascending=True)
    floor = evidence.trials["frechet_floor"].median()
    if pd.notna(floor):
        axes.axhline(floor, color=OTHERS, linewidth=1, linestyle=":", label="real against real")
    axes.set(xlabel="GAN epoch", ylabel="Frechet distance")
    legend_below(figure, axes)
    best, worst = final.index[0], final.index[-1]
    alt = (
        f"Frechet distance against epoch for {len(final)} GANs. Lowest at the end: {best} with {final.iloc[0]:.1f}; "
        f"highest: {worst} with {final.iloc[-1]:.1f}; real against real {floor:.1f}."
    )
    return Drawing("training_frechet", "Frechet distance during GAN training", alt, figure)


def _wasserstein(gans: pd.DataFrame) -> Drawing:
    figure, (axes,) = new_figure()
    final = draw_lines(axes, gans, "wasserstein", ascending=True)
    axes.set(xlabel="GAN epoch", ylabel="critic: real minus synthetic score")
    legend_below(figure, axes)
    alt = (
        f"The critic's estimate of the Wasserstein distance against epoch for {len(final)} GANs; at the end between "
        f"{final.min():.2f} and {final.max():.2f}."
    )
    return Drawing("training_wasserstein", "Wasserstein estimate during GAN training", alt, figure)


def _classifier(classifiers: pd.DataFrame) -> Drawing:
    figure, (axes,) = new_figure()
    final = draw_lines(axes, classifiers, "validation_auroc", ascending=False)
    axes.set(xlabel="classifier epoch", ylabel="validation AUROC")
    legend_below(figure, axes)
    alt = (
        f"Validation AUROC against epoch for {len(final)} kinds of training. Highest at the end: {final.index[0]} with "
        f"{final.iloc[0]:.3f}; lowest: {final.index[-1]} with {final.iloc[-1]:.3f}."
    )
    return Drawing("training_classifier", "Classifier on validation images during training", alt, figure)


def draw_lines(axes: Axes, reports: pd.DataFrame, column: str, ascending: bool) -> pd.Series:
    """Mean over runs against epoch, a line a model, with the range of its runs; returns each model's last mean, best
    first. The best `SHOWN` get a colour."""
    reports = reports.dropna(subset=column)
    last = reports.sort_values("epoch").groupby(["model", "run"])[column].last()
    final = last.groupby("model").mean().sort_values(ascending=ascending, kind="stable")
    for rank, model in reversed(list(enumerate(final.index))):
        epochs = reports[reports["model"] == model].groupby("epoch")[column].agg(["mean", "min", "max"])
        style = look(rank) if rank < SHOWN else {"color": OTHERS, "linewidth": 0.8}
        label = model if rank < SHOWN else "others" if rank == SHOWN else None
        axes.plot(epochs.index, epochs["mean"], label=label, markevery=max(1, len(epochs) // 6), **style)
        axes.fill_between(epochs.index, epochs["min"], epochs["max"], color=style["color"], alpha=0.15, linewidth=0)
    return final
