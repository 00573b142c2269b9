"""The trials of a study ranked on validation, the paper's model in row 0.

python results/leaderboard.py STUDY [--objective auroc]
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from results.stats.repeated import worth_of_trials
from results.tables.published import auroc_statement, comparable, paper_row
from results.tables.schema import REPEATED, TRIALS
from results.tables.store import TableError, check_study, read_trials
from results.text import EXIT_BROKEN_PIPE, error_text, leave_standard_output, printable, wrap

OBJECTIVES = ("pareto", "frechet", "auroc")
DISTANCE_GROUP = ["feature_extractor", "num_real", "num_fake"]  # distances are compared within one group only

# The columns of the printed table: (header, key, format, widest); rank shows the status of what has no rank.
COLUMNS = [
    ("rank",    "rank",             "s",    6),
    ("trial",   "trial_id",         "s",   12),
    ("GAN",     "backbone",         "s",   16),
    ("LSTM",    "lstm_depth",       ".0f",  4),
    ("ratio",   "synthetic_ratio",  ".2g",  5),
    ("Frechet", "frechet_distance", ".1f",  7),
    ("SSIM",    "ssim_nearest",     ".2f",  5),
    ("val",     "estimate",         ".3f",  5),
    ("se",      "standard_error",   ".3f",  5),
    ("test",    "test_auroc",       ".3f",  5),
]  # fmt: skip
BY_AUROC = (
    "Trials are ranked by val: their validation AUROC with standard error (se), drawn to that of their GAN and of all "
    "trials as far as one training is luck; a search of six trials or more ends by training its best again."
)
BY_DISTANCE = (
    "Trials are ranked by the mean Frechet distance over the last quarter of their GAN's epochs, for a single distance "
    "wavers; the column has the last."
)
REFERENCE = "principal"  # the system that every trained GAN must beat
REAL_ONLY = {"backbone": "none: real only", "lstm_depth": None, "synthetic_ratio": None}  # its config names a GAN


def objective_of(trials: pd.DataFrame) -> str:
    """What the search was for, whose trials these are."""
    return next(iter(trials["objective"].dropna()), "pareto")


def leaderboard(trials: pd.DataFrame, objective: str | None = None) -> pd.DataFrame:
    """The columns of TRIALS behind rank, pareto, comparable, estimate and standard_error: the paper, ranked trials, all
    others.

    `rank` is 0 for the paper and null for what cannot be ranked (pruned, failed, objective not measured). `estimate` is
    what a trial's validation AUROC would be without the luck of a training, from its own score, its repeats as a
    finalist and the other trials of its GAN (`results.stats.repeated`). pareto and auroc rank by it; frechet ranks by
    `frechet_recent`, for a single distance wavers, by `frechet_distance` where a study has none, and starts again at 1
    for each feature extractor and pair of image counts, the largest group first.
    `pareto` marks a group's non-dominated front (distance down, estimate up). `comparable` is "yes" or the reasons why
    a row cannot be held against the paper's. Finalists and rows of a confirmation are left out: what they repeat is in
    the ranking. Without an objective it is the search's own. Raises TableError for an unknown one.
    """
    objective = objective or objective_of(trials)
    if objective not in OBJECTIVES:
        raise TableError(f"objective: {objective!r} is none of {', '.join(OBJECTIVES)}")
    estimates = worth_of_trials(trials)
    trials = trials[~trials["phase"].isin(REPEATED)]
    completed = trials[trials["status"] == "completed"].sort_values("trial_id", ignore_index=True)
    completed[list(estimates)] = estimates.reindex(completed["trial_id"]).to_numpy(float)
    completed = _ranked(completed, objective)
    ended = trials[trials["status"] != "completed"].sort_values(["status", "trial_id"], ascending=[False, True])
    ours = [*completed.to_dict("records"), *ended.assign(rank=None, pareto=False).to_dict("records")]
    rows = [
        {"rank": 0, "pareto": False, "comparable": "yes", **paper_row()},
        *({**row, "comparable": comparable(row)} for row in ours),
    ]
    columns = ["rank", "pareto", "comparable", "estimate", "standard_error", *TRIALS.names]
    return pd.DataFrame(rows, columns=columns).astype({"rank": "Int64"})


def _ranked(completed: pd.DataFrame, objective: str) -> pd.DataFrame:
    """The rows in their order, null ranks last, with the columns rank and pareto."""
    completed = completed.assign(pareto=_on_front(completed))
    if objective != "frechet":
        ranks = completed["estimate"].rank(method="first", ascending=False)
        return completed.assign(rank=ranks).sort_values("rank", kind="stable")
    recent = completed["frechet_recent"].fillna(completed["frechet_distance"])
    groups = completed.assign(recent=recent).groupby(DISTANCE_GROUP, dropna=False)
    ranks, size = groups["recent"].rank(method="first"), groups["recent"].transform("count")
    order = np.lexsort([ranks, groups.ngroup(), -size, ranks.isna()])
    return completed.assign(rank=ranks).iloc[order]


def _on_front(completed: pd.DataFrame) -> np.ndarray:
    """[trials]: no trial of the same distance group is at least as good in both objectives and better in one."""
    distance, auroc = (completed[name].to_numpy(float) for name in ("frechet_distance", "estimate"))
    group = completed.groupby(DISTANCE_GROUP, dropna=False).ngroup().to_numpy()
    no_worse = (distance[:, None] <= distance) & (auroc[:, None] >= auroc)  # [rivals, trials]
    better = (distance[:, None] < distance) | (auroc[:, None] > auroc)
    dominated = (no_worse & better & (group[:, None] == group)).any(axis=0)
    return ~dominated & ~np.isnan(distance) & ~np.isnan(auroc)


def saved_minutes(trials: pd.DataFrame) -> tuple[float, float]:
    """Minutes of GAN training saved (by reuse, by stopping): `saved_seconds` of pruned trials is saved by stopping."""
    stopped = trials["status"] == "pruned"
    by_reuse, by_stopping = (float(trials.loc[part, "saved_seconds"].sum()) / 60 for part in (~stopped, stopped))
    return by_reuse, by_stopping


def format_leaderboard(frame: pd.DataFrame, study_path: Path, objective: str = "pareto") -> str:
    """The leaderboard of this objective as plain text of 80 columns: table, what may be compared, the floor, how to run
    each again.

    Only a path or a command makes a line longer: those are never broken.
    """
    ours = frame.iloc[1:]
    title = f"Leaderboard of {study_path}"
    title += " - SAMPLE DATA" if ours["is_sample_data"].eq(True).any() else ""
    title += " - RANDOM SPLIT" if ours["split_protocol"].eq("random").any() else ""
    parts = [wrap(title), _table(frame), _notes(ours, objective), _reproduce_lines(ours, study_path)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(frame: pd.DataFrame) -> str:
    headers = [header for header, *_ in COLUMNS]
    rows = list(map(gan_cells, frame.to_dict("records")))
    cells = [headers, *([_cell(row, *column[1:]) for column in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = ["<" if spec == "s" else ">" for _, _, spec, _ in COLUMNS]
    lines = [
        " ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True)).rstrip()
        for line in cells
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, lines[1], rule, *lines[2:]])


def gan_cells(row: dict) -> dict:
    """The row as it is shown: what its generator is, without values that its generator does not use."""
    if row["synthetic_ratio"] == 0:
        return row | REAL_ONLY
    if pd.notna(row["generator"]) and row["generator"] != "recurrent":
        return row | {"backbone": row["system"], "lstm_depth": None}
    clipped = pd.notna(row["weight_clip"]) and row["weight_clip"] > 0
    of_the_papers_kind = pd.isna(row["gan_objective"]) or (row["gan_objective"] == "wasserstein" and not clipped)
    has_no_name = str(row["system"]).startswith("recurrent_")  # its search varies the backbone
    return row if of_the_papers_kind or has_no_name else row | {"backbone": row["system"]}


def _cell(row: dict, key: str, spec: str, widest: int) -> str:
    if key == "rank" and pd.notna(row["rank"]):
        return f"{row['rank']}{'*' if row['pareto'] else ''}"
    if key == "rank" and row["status"] != "completed":
        return row["status"]
    if pd.isna(row[key]):
        return "-"
    text = printable(format(row[key], spec))
    return text if len(text) <= widest else text[: widest - 1] + "~"


def _notes(ours: pd.DataFrame, objective: str) -> str:
    completed = ours[ours["status"] == "completed"]
    reasons = completed["comparable"].str.split("; ").explode().value_counts(sort=False).drop("yes", errors="ignore")
    groups = completed.dropna(subset="frechet_distance").drop_duplicates([*DISTANCE_GROUP, "frechet_floor"])
    lines = [
        "Row 0 is the paper's WGAN-GP with LSTM. val and test are AUROC. "
        + (BY_DISTANCE if objective == "frechet" else BY_AUROC)
        + " test is read once. * = Pareto front of Frechet distance and val.",
        f"{auroc_statement()}; it does not say how many images its FID uses, nor which it pairs for SSIM.",
    ]
    lines += [f"Not comparable with the paper: {reason} ({count} of {len(completed)} trials)."
              for reason, count in reasons.items()]  # fmt: skip
    lines += [
        f"Frechet distance of real to real images (floor): {row.frechet_floor:.1f} "
        f"({row.feature_extractor}, {row.num_real:.0f} real, {row.num_fake:.0f} synthetic images)."
        for row in groups.dropna(subset="frechet_floor").itertuples()
    ]
    if len(groups.drop_duplicates(DISTANCE_GROUP)) > 1:
        lines += ["Distances of other feature extractors or image counts do not compare; each kind has its own ranks."]
    lines += against_references(completed.dropna(subset="frechet_distance"))
    return "\n".join(map(wrap, lines))


def against_references(measured: pd.DataFrame) -> list[str]:
    """Which of the GANs are no nearer to the real images than what needs no training: a Gaussian, and noise."""
    lines = []
    for _, group in measured.groupby(DISTANCE_GROUP, dropna=False):
        gans = group.drop_duplicates("gan_key")  # a reused one has several trials
        others = gans[gans["system"] != REFERENCE]
        gaussian = gans.loc[gans["system"] == REFERENCE, "frechet_distance"]
        references = [("An untrained Gaussian per class over principal components has", value) for value in gaussian]
        noisy = group["frechet_noisy_real"].dropna().unique()[:1]  # measured again with each GAN
        references += [("Real training images with Gaussian noise (sd 0.1 in [-1, 1]) have", value) for value in noisy]
        for name, distance in references:
            worse = others.loc[others["frechet_distance"] >= distance, "trial_id"]
            named = f" ({', '.join(worse)})" if len(worse) else ""
            lines.append(
                f"{name} a Frechet distance of {distance:.1f}: {len(worse)} of {len(others)} trained GANs are no "
                f"better{named}."
            )
    return lines


def _reproduce_lines(ours: pd.DataFrame, study_path: Path) -> str:
    ranked = ours.loc[ours["rank"].notna(), "trial_id"]
    study = shlex.quote(str(study_path))
    commands = [f"python study/reproduce.py {study} --trial {shlex.quote(trial)}" for trial in ranked]
    return "\n".join(["To run a trial again:", *map(printable, commands)]) if commands else ""


def exit_code(action: Callable[[], None]) -> int:
    """0 after `action`; 2 where it cannot read or write a file, which a line of stderr tells; 141 without a reader."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal need not be UTF-8
    try:
        action()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has ended
        leave_standard_output()
        return EXIT_BROKEN_PIPE
    except (TableError, OSError) as error:
        print(error_text(error), file=sys.stderr)
        return 2
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print a study's leaderboard, the paper in row 0.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder, <out>/<study>")
    parser.add_argument("--objective", choices=OBJECTIVES, help="what the trials are ranked by (default: the study's)")
    options = parser.parse_args(arguments)

    def show() -> None:
        check_study(options.study)
        trials = read_trials(options.study)
        objective = options.objective or objective_of(trials)
        print(format_leaderboard(leaderboard(trials, objective), options.study, objective), end="")

    return exit_code(show)


if __name__ == "__main__":
    sys.exit(main())
