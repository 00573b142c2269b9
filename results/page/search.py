"""What the search tried and what came of it: Pareto front, parameters, importances, time."""

import sqlite3
import warnings
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from sqlalchemy import URL

from results.leaderboard import gan_cells, leaderboard
from results.page.figure import OTHERS, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import Note
from results.stats.evidence import Evidence
from results.tables.store import TableError

OBJECTIVES = {"frechet_distance": "Frechet distance", "validation_auroc": "validation AUROC"}
OF_THE_CLASSIFIER = {"synthetic_ratio", "classifier_lr", "dropout"}  # no distance hangs on them
ROLES = {"paper": 0, "search": 1, "baseline": 2, "system": 3}  # phase -> look


def search_figures(evidence: Evidence) -> list[Drawing | Note]:
    """The parameters are those that Optuna's file names; without it only what TRIALS holds is drawn."""
    study = load_search(evidence.study)
    parts = [pareto(evidence), timeline(evidence)]
    if study is None:
        name = evidence.study.resolve().name
        return [*parts, Note(f"No search named {name} in optuna.db: no importances, no slices.")]
    trials = study.get_trials(deepcopy=False)
    of_systems = [trial.number for trial in trials if "system" in trial.params]  # without a GAN of the search's own
    parameters = sorted({name for trial in trials for name in trial.params} - {"system"})
    tried = evidence.searched[evidence.searched["phase"].isin(["paper", "search"])]
    tried = tried[~tried["trial_id"].str.split("-").str[-1].astype(int).isin(of_systems)]
    tried = tried[tried["status"] == "completed"].dropna(subset="validation_auroc").sort_values("validation_auroc")
    if tried.empty or not parameters:
        return [*parts, Note("No trial of the search was completed, so importances and slices are not shown.")]
    return [*parts, importance(study, parameters), parallel(tried, parameters), slices(tried, parameters)]


def load_search(folder: Path) -> optuna.Study | None:
    """The study of the folder's name in `optuna.db`; None where there is none, or an empty file.

    Raises TableError for a damaged file.
    """
    path = folder / "optuna.db"
    if not path.is_file():
        return None
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as connection:
            (found,) = connection.execute("PRAGMA quick_check").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return None
    except sqlite3.DatabaseError as error:
        raise TableError(f"{path} is damaged ({error}); move it away to have the report without the search") from None
    storage = str(URL.create("sqlite", database=str(path)))
    try:
        return optuna.load_study(study_name=folder.resolve().name, storage=storage)
    except KeyError:  # the folder was renamed
        return None


def pareto(evidence: Evidence) -> Drawing | Note:
    """Frechet distance against validation AUROC as the leaderboard estimates it, the front marked."""
    rows = leaderboard(evidence.trials).iloc[1:].dropna(subset=["frechet_distance", "estimate"]).to_dict("records")
    trials = pd.DataFrame(map(gan_cells, rows))
    if trials.empty:
        return Note("No trial of the search has both a Frechet distance and a validation AUROC.")
    figure, (axes,) = new_figure()
    for number, (backbone, rows) in enumerate(trials.groupby("backbone")):
        style = look(number) | {"linestyle": "", "label": backbone}
        axes.plot(rows["frechet_distance"], rows["estimate"], **style)
    front = trials[trials["pareto"].astype(bool)].sort_values("frechet_distance")
    line = {"color": OTHERS, "linewidth": 0.8, "zorder": 1, "label": "Pareto front"}
    axes.plot(front["frechet_distance"], front["estimate"], **line)
    noisy = trials["frechet_noisy_real"].median()
    if pd.notna(noisy):
        axes.axvline(noisy, color=OTHERS, linewidth=1, linestyle=":", label="real images with noise")
    axes.set(xlabel="Frechet distance (lower is better)", ylabel="validation AUROC, estimated")
    legend_below(figure, axes)
    listed = [f"{row.trial_id} {row.frechet_distance:.1f}, {row.estimate:.3f}" for row in front.itertuples()]
    alt = f"{len(trials)} trials. On the Pareto front (Frechet distance, validation AUROC): {'; '.join(listed)}."
    alt += f" Real images with noise: {noisy:.1f}." if pd.notna(noisy) else ""
    return Drawing("pareto", "Frechet distance and validation AUROC of each trial", alt, figure)


def importance(study: optuna.Study, parameters: list[str]) -> Drawing | Note:
    """Optuna's importance of each parameter for each objective (PED-ANOVA, Watanabe et al. 2023)."""
    try:
        columns = importances(study, parameters)
    except (ValueError, RuntimeError, UserWarning) as error:
        return Note(f"Importances cannot be computed yet, Optuna says: {error}")
    order = columns.mean(axis=1).sort_values().index
    figure, (axes,) = new_figure()
    for number, name in enumerate(columns):
        places = np.arange(len(order)) + 0.4 * (columns.shape[1] - 1) * (0.5 - number)
        axes.barh(places, columns.loc[order, name], height=0.38, color=look(number)["color"], label=name)
    axes.set(xlabel="importance (sums to 1)")
    axes.set_yticks(np.arange(len(order)), [_written(name) for name in order])
    legend_below(figure, axes)
    listed = "; ".join(f"for {name}: {_written(columns[name].idxmax())} {columns[name].max():.2f}" for name in columns)
    return Drawing("importance", "Importance of each parameter", f"The most important parameter {listed}.", figure)


def importances(study: optuna.Study, parameters: list[str]) -> pd.DataFrame:
    """Parameters x objectives, by the trials that have all of these, so none with another system's GAN; of a distance
    only those of its GAN. Raises what Optuna raises, and its warning where trials are too few to tell."""
    # The order of the objectives in Optuna's file is that of the search: distance first where there are two.
    highest = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
    names = list(OBJECTIVES.values())
    columns = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # It reminds that a low target counts as good, which the sign below sees to.
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes", category=UserWarning)
        for number, is_highest in enumerate(highest):
            sign, name = -1 if is_highest else 1, names[number if len(highest) > 1 else is_highest]
            columns[name] = optuna.importance.get_param_importances(
                study,
                params=[one for one in parameters if is_highest or one not in OF_THE_CLASSIFIER],
                target=lambda trial, n=number, s=sign: s * trial.values[n],
            )
    return pd.DataFrame(columns).fillna(0.0)


def parallel(trials: pd.DataFrame, parameters: list[str]) -> Drawing:
    """A line a trial across its parameters to its validation AUROC, the best quarter coloured; `trials` worst first."""
    figure, (axes,) = new_figure(WIDE)
    columns = [*parameters, "validation_auroc"]
    lines = np.array([_heights(trials[name]) for name in columns])  # columns x trials
    best_quarter = len(trials) - max(1, len(trials) // 4)
    labels = {0: "other trials", len(trials) - 1: "the best quarter on validation"}
    for number, line in enumerate(lines.T):
        style = {"color": OTHERS, "linewidth": 0.8}
        if number >= best_quarter:
            style = {"color": look(1)["color"], "zorder": 3}
        axes.plot(line, label=labels.get(number), **style)
    axes.set_xticks(range(len(columns)), [_written(name).replace(" ", "\n") for name in columns])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    legend_below(figure, axes)
    for place, name in enumerate(columns):
        # Names lie within the figure, left of all axes but the first.
        side = (3, "left") if place == 0 or pd.api.types.is_numeric_dtype(trials[name]) else (-3, "right")
        for value, height in dict(zip(trials[name], lines[place], strict=True)).items():
            if height in (0.0, 1.0) or trials[name].nunique() <= 5:
                text = _shown(value).replace("netv2", "net\nv2")
                axes.annotate(text, (place, height), (side[0], 2), textcoords="offset points", fontsize=7, ha=side[1])
    best = trials.iloc[-1]
    listed = ", ".join(f"{_written(name)} {_shown(best[name])}" for name in parameters)
    alt = f"{len(trials)} trials; the highest validation AUROC, {best['validation_auroc']:.3f}, had {listed}."
    return Drawing("parallel", "Parameters and validation AUROC of each trial", alt, figure)


def _heights(values: pd.Series) -> np.ndarray:
    """Heights in [0, 1] in the order of the values; names in alphabetical order, equally spaced."""
    numbers = values if pd.api.types.is_numeric_dtype(values) else pd.Series(np.unique(values, return_inverse=True)[1])
    low, high = numbers.min(), numbers.max()
    return ((numbers - low) / (high - low) if high > low else numbers * 0 + 0.5).to_numpy(float)


def slices(trials: pd.DataFrame, parameters: list[str]) -> Drawing:
    """Validation AUROC against each parameter by itself."""
    rows = -(-len(parameters) // 4)
    figure, axes = new_figure((WIDE[0], 2.3 * rows), rows, 4, sharey=True)
    for axis, name in zip(axes, parameters, strict=False):
        axis.plot(trials[name], trials["validation_auroc"], "o", color=look(0)["color"], alpha=0.7)
        axis.set_xlabel(_written(name))
        axis.margins(x=0.15)
        if not pd.api.types.is_numeric_dtype(trials[name]):
            for label in axis.get_xticklabels():
                label.set(rotation=20, horizontalalignment="right", rotation_mode="anchor")
        elif trials[name].nunique() <= 4:
            axis.set_xticks(sorted(trials[name].unique()), map(_shown, sorted(trials[name].unique())))
    for axis in axes[len(parameters) :]:
        axis.set_axis_off()
    figure.supylabel("validation AUROC", fontsize=9)
    low, high = trials["validation_auroc"].iloc[[0, -1]]
    names = ", ".join(map(_written, parameters))
    alt = f"Validation AUROC of {len(trials)} trials, {low:.3f} to {high:.3f}, against each of {names}."
    return Drawing("slices", "Validation AUROC by each parameter", alt, figure)


def timeline(evidence: Evidence) -> Drawing | Note:
    """When each trial ran and for how long; a reused GAN makes a trial short."""
    trials = evidence.searched.dropna(subset=["started_at", "seconds"])
    if trials.empty:
        return Note("No trial has recorded when it ran.")
    started = pd.to_datetime(trials["started_at"], utc=True, format="ISO8601")
    begin = (started - started.min()).dt.total_seconds() / 3600
    trials = trials.assign(begin=begin, hours=trials["seconds"] / 3600).sort_values(["begin", "trial_id"])
    trials = trials.assign(place=range(len(trials)))
    figure, (axes,) = new_figure((4.6, max(3.3, 1.0 + 0.16 * len(trials))))
    for phase, rows in trials.groupby("phase"):
        style = {"color": look(ROLES[phase])["color"], "label": phase, "height": 0.7}
        axes.barh(rows["place"], rows["hours"], left=rows["begin"], **style)
    axes.set(xlabel="hours since the first trial started")
    axes.set_yticks(trials["place"], trials["trial_id"])
    axes.invert_yaxis()
    legend_below(figure, axes, columns=3)
    end, longest = (trials["begin"] + trials["hours"]).max(), trials.loc[trials["hours"].idxmax()]
    alt = f"{len(trials)} trials in {end:.2f} hours; the longest, {longest.trial_id}, took {longest.hours:.2f} hours."
    return Drawing("timeline", "Start and duration of each trial", alt, figure)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _written(parameter: str) -> str:
    words = parameter.replace("_lr", " learning rate").replace("_", " ").replace("lstm", "LSTM")
    return OBJECTIVES.get(parameter, words)
