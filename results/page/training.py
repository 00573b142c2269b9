"""How GANs and classifiers trained: one line a model, a band where it was trained with several seeds."""

import pandas as pd

from results.page.figure import OTHERS, Drawing, legend_below, look, new_figure
from results.page.parts import RESUME, Note
from results.stats.evidence import Evidence, arm_name, select
from results.tables.schema import BENCHMARK, FINALIST

SHOWN = 6  # lines with a colour of their own; the rest are grey
# Figure, its title, the models, the column of HISTORY, its axis, whether low is best
CURVES = (
    ("training_frechet", "Frechet distance by epoch of each GAN", "GAN", "frechet_distance", "Frechet distance", True),
    ("training_wasserstein", "Critic's Wasserstein estimate by epoch of each GAN", "GAN", "wasserstein",
     "critic: real minus synthetic score", True),
    ("training_classifier", "Validation AUROC by epoch of each classifier", "classifier", "validation_auroc",
     "validation AUROC", False),
)  # fmt: skip


def training_figures(evidence: Evidence) -> list[Drawing | Note]:
    reports = {"GAN": gan_history(evidence), "classifier": classifier_history(evidence)}
    floor = evidence.trials["frechet_floor"].median()
    figures = []
    for name, title, models, column, axis, ascending in CURVES:
        shown = reports[models].dropna(subset=column)
        if len(shown):
            figures.append(curve(shown, floor, name, title, f"{models} epoch", column, axis, ascending))
    return figures or [Note("No training was recorded yet.", RESUME)]


def gan_history(evidence: Evidence) -> pd.DataFrame:
    """Reports of each GAN once, with the columns model (the trial of the search it belongs to) and run (the GAN)."""
    trials = evidence.trials[~evidence.trials["phase"].isin([BENCHMARK, FINALIST])]
    trials = select(trials, training_fraction=1.0, split_protocol=evidence.protocol)
    reports = select(evidence.history, stage="gan").drop(columns="gan_key")
    reports = reports.merge(trials[["trial_id", "gan_key", "confirms"]], on="trial_id")
    reports = reports.sort_values(["trial_id", "epoch"])
    reports["run"] = reports["gan_key"].fillna(reports["trial_id"])  # a stopped GAN has no key in its row
    reports = reports.drop_duplicates(["run", "epoch"])
    first = reports.groupby("run")["trial_id"].transform("first")
    return reports.assign(model=reports["confirms"].fillna(first))


def classifier_history(evidence: Evidence) -> pd.DataFrame:
    """Reports of classifiers, with the columns model and run: of the contrasted arms, of all trials before those."""
    arms = [evidence.of_arm(evidence.main, arm) for arm in evidence.contrasted_arms]
    trials = pd.concat(arms) if arms else evidence.searched
    models = trials["arm"].map(arm_name) if arms else trials["trial_id"]
    trials = trials[["trial_id"]].assign(model=models, run=trials["trial_id"])
    return select(evidence.history, stage="classifier").merge(trials, on="trial_id")


def curve(
    reports: pd.DataFrame, floor: float, name: str, title: str, epoch: str, column: str, axis: str, ascending: bool
) -> Drawing:
    """A column of HISTORY against the epoch: the mean over a model's runs and their range. The best `SHOWN` models get
    a colour; `floor` is drawn beside Frechet distances."""
    figure, (axes,) = new_figure()
    last = reports.sort_values("epoch").groupby(["model", "run"])[column].last()
    final = last.groupby("model").mean().sort_values(ascending=ascending, kind="stable")
    for rank, model in reversed(list(enumerate(final.index))):
        epochs = reports[reports["model"] == model].groupby("epoch")[column].agg(["mean", "min", "max"])
        style = look(rank) if rank < SHOWN else {"color": OTHERS, "linewidth": 0.8}
        label = model if rank < SHOWN else "others" if rank == SHOWN else None
        axes.plot(epochs.index, epochs["mean"], label=label, markevery=max(1, len(epochs) // 6), **style)
        axes.fill_between(epochs.index, epochs["min"], epochs["max"], color=style["color"], alpha=0.15, linewidth=0)
    alt = f"{axis} of {len(final)} models, at their last epoch from {final.iloc[0]:.3f} ({final.index[0]}) to "
    alt += f"{final.iloc[-1]:.3f} ({final.index[-1]})"
    if column == "frechet_distance" and pd.notna(floor):
        axes.axhline(floor, color=OTHERS, linewidth=1, linestyle=":", label="real to real images")
        alt += f"; real to real images {floor:.1f}"
    axes.set(xlabel=epoch, ylabel=axis)
    legend_below(figure, axes)
    return Drawing(name, title, f"{alt}.", figure)
