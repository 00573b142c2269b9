"""What the search tried and what came of it: Pareto front, parameters, importances, time."""

import sqlite3
import warnings
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from results.leaderboard import leaderboard
from results.page.figure import OTHERS, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import Note
from results.stats.evidence import Evidence
from results.tables.store import TableError

OBJECTIVES = {"frechet_distance": "Frechet distance", "validation_auroc": "validation AUROC"}
ROLES = {"paper": 0, "search": 1, "baseline": 2}  # phase -> look


def search_figures(evidence: Evidence) -> list[Drawing | Note]:
    """The parameters are those that Optuna's file names; without it only what TRIALS holds is drawn."""
    study = load_search(evidence.study)
    parts = [pareto(evidence), timeline(evidence)]
    if study is None:
        return [
            *parts,
            Note(f"No search named {evidence.study.resolve().name} in optuna.db: no importances, no slices."),
        ]
    parameters = sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})
    tried = evidence.searched[
        (evidence.searched["status"] == "completed") & evidence.searched["phase"].isin(["paper", "search"])
    ]
    if tried.empty or not parameters:
        return [*parts, Note("No trial of the search was completed, so importances and slices are not shown.")]
    return [*parts, importance(study), parallel(tried, parameters), slices(tried, parameters)]


def load_search(folder: Path) -> optuna.Study | None:
    """The study of the folder's name in `optuna.db`; None where there is none. Raises TableError for a damaged file."""
    path = folder / "optuna.db"
    if not path.is_file():
        return None
    try:
        with sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        raise TableError(f"{path} is damaged ({error}); move it away to have the report without the search") from None
    try:
        return optuna.load_study(study_name=folder.resolve().name, storage=f"sqlite:///{path}")
    except KeyError:  # the folder was renamed
        return None


def pareto(evidence: Evidence) -> Drawing | Note:
    """Frechet distance against validation AUROC, the front marked."""
    trials = leaderboard(evidence.searched).iloc[1:].dropna(subset=list(OBJECTIVES))
    if trials.empty:
        return Note("No trial of the search has both a Frechet distance and a validation AUROC.")
    figure, (axes,) = new_figure()
    for number, (backbone, rows) in enumerate(trials.groupby("backbone")):
        style = look(number) | {"linestyle": ""}
        axes.plot(rows["frechet_distance"], rows["validation_auroc"], label=backbone, **style)
    front = trials[trials["pareto"].astype(bool)].sort_values("frechet_distance")
    line = {"color": OTHERS, "linewidth": 0.8, "zorder": 1}
    axes.plot(front["frechet_distance"], front["validation_auroc"], label="Pareto front", **line)
    axes.set(xlabel="Frechet distance (lower is better)", ylabel="validation AUROC")
    legend_below(figure, axes)
    listed = "; ".join(
        f"{row.trial_id} {row.frechet_distance:.1f}, {row.validation_auroc:.3f}" for row in front.itertuples()
    )
    alt = f"{len(trials)} trials. On the Pareto front (Frechet distance, validation AUROC): {listed}."
    return Drawing("pareto", "Image quality against diagnosis", alt, figure)


def importance(study: optuna.Study) -> Drawing | Note:
    """Optuna's importance of each parameter for each objective (PED-ANOVA, Watanabe et al. 2023)."""
    try:
        columns = importances(study)
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
    listed = "; ".join(f"for {name}: {columns[name].idxmax()} {columns[name].max():.2f}" for name in columns)
    return Drawing("importance", "Importance of each parameter", f"The most important {listed}.", figure)


def importances(study: optuna.Study) -> pd.DataFrame:
    """Parameters x objectives. Raises what Optuna raises, and its warning where trials are too few to tell."""
    # The order of the objectives in Optuna's file is that of the search: distance first where there are two.
    names = list(OBJECTIVES.values())
    if len(study.directions) == 1:
        names = [names[study.direction == optuna.study.StudyDirection.MAXIMIZE]]
    columns = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # It reminds that a low target counts as good, which the sign below sees to.
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes", category=UserWarning)
        for number, (name, direction) in enumerate(zip(names, study.directions, strict=True)):
            sign = -1 if direction == optuna.study.StudyDirection.MAXIMIZE else 1
            columns[name] = optuna.importance.get_param_importances(
                study, target=lambda trial, n=number, s=sign: s * trial.values[n]
            )
    return pd.DataFrame(columns).fillna(0.0)


def parallel(trials: pd.DataFrame, parameters: list[str]) -> Drawing:
    """A line a trial across its parameters to its validation AUROC, the best quarter coloured."""
    trials = trials.dropna(subset="validation_auroc").sort_values("validation_auroc")
    figure, (axes,) = new_figure(WIDE)
    columns = [*parameters, "validation_auroc"]
    places = {name: _places(trials[name]) for name in columns}
    lines = np.array([places[name] for name in columns])  # columns x trials
    best_quarter = len(trials) - max(1, len(trials) // 4)
    for number, line in enumerate(lines.T):
        style = (
            {"color": look(1)["color"], "zorder": 3} if number >= best_quarter else {"color": OTHERS, "linewidth": 0.8}
        )
        label = {0: "other trials", len(trials) - 1: "the best quarter on validation"}.get(number)
        axes.plot(line, label=label, **style)
    axes.set_xticks(range(len(columns)), [_written(name).replace(" ", "\n") for name in columns])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    legend_below(figure, axes)
    for place, name in enumerate(columns):
        for value, height in dict(zip(trials[name], places[name], strict=True)).items():
            if height in (0.0, 1.0) or trials[name].nunique() <= 5:
                text = f"{value:.3g}" if isinstance(value, float) else str(value)
                axes.annotate(text, (place, height), (3, 2), textcoords="offset points", fontsize=7)
    best = trials.iloc[-1]
    listed = ", ".join(f"{_written(name)} {best[name]:.3g}" if isinstance(best[name], float) else
                       f"{_written(name)} {best[name]}" for name in parameters)  # fmt: skip
    alt = f"{len(trials)} trials; the highest validation AUROC, {best['validation_auroc']:.3f}, had {listed}."
    return Drawing("parallel", "Parameters of every trial", alt, figure)


def _places(values: pd.Series) -> np.ndarray:
    """Heights in [0, 1] in the order of the values; names in alphabetical order, equally spaced."""
    numbers = values if pd.api.types.is_numeric_dtype(values) else pd.Series(np.unique(values, return_inverse=True)[1])
    low, high = numbers.min(), numbers.max()
    return ((numbers - low) / (high - low) if high > low else numbers * 0 + 0.5).to_numpy(float)


def slices(trials: pd.DataFrame, parameters: list[str]) -> Drawing:
    """Validation AUROC against each parameter by itself."""
    trials = trials.dropna(subset="validation_auroc")
    rows = -(-len(parameters) // 4)
    figure, axes = new_figure((WIDE[0], 2.3 * rows), rows, 4, sharey=True)
    for axis, name in zip(axes, parameters, strict=False):
        values = (
            trials[name]
            if pd.api.types.is_numeric_dtype(trials[name])
            else trials[name].str.replace("netv2", "net\nv2")
        )
        axis.plot(values, trials["validation_auroc"], "o", color=look(0)["color"], alpha=0.7)
        axis.set_xlabel(_written(name))
        axis.margins(x=0.15)
    for axis in axes[len(parameters) :]:
        axis.set_axis_off()
    figure.supylabel("validation AUROC", fontsize=9)
    span = trials["validation_auroc"]
    alt = (
        f"Validation AUROC of {len(trials)} trials, {span.min():.3f} to {span.max():.3f}, against each of "
        f"{', '.join(map(_written, parameters))}."
    )
    return Drawing("slices", "Validation AUROC against each parameter", alt, figure)


def timeline(evidence: Evidence) -> Drawing | Note:
    """When each trial ran and for how long; a reused GAN makes a trial short."""
    trials = evidence.searched.dropna(subset=["started_at", "seconds"])
    if trials.empty:
        return Note("No trial has recorded when it ran.")
    started = pd.to_datetime(trials["started_at"], utc=True, format="ISO8601")
    hours = (started - started.min()).dt.total_seconds() / 3600
    trials = trials.assign(begin=hours, hours=trials["seconds"] / 3600).sort_values(["begin", "trial_id"])
    trials = trials.assign(place=range(len(trials)))
    figure, (axes,) = new_figure((4.6, max(3.3, 1.0 + 0.16 * len(trials))))
    for phase, rows in trials.groupby("phase"):
        colour = look(ROLES[phase])["color"]
        axes.barh(rows["place"], rows["hours"], left=rows["begin"], height=0.7, color=colour, label=phase)
    axes.set(xlabel="hours since the first trial started")
    axes.set_yticks(trials["place"], trials["trial_id"])
    axes.invert_yaxis()
    legend_below(figure, axes, columns=3)
    end = (trials["begin"] + trials["hours"]).max()
    longest = trials.loc[trials["hours"].idxmax()]
    alt = f"{len(trials)} trials in {end:.2f} hours; the longest, {longest.trial_id}, took {longest.hours:.2f} hours."
    return Drawing("timeline", "Timeline of the trials", alt, figure)


def _written(parameter: str) -> str:
    words = parameter.replace("_lr", " learning rate").replace("_", " ").replace("lstm", "LSTM")
    return OBJECTIVES.get(parameter, words)
