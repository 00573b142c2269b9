"""The work of `study/run_sweep.py`: prepare the photographs, search, print the leaderboard."""

import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pandas as pd

from data_utils.dataset import load_dataset, training_subset
from data_utils.prepared import Prepared
from results.leaderboard import format_leaderboard, leaderboard, saved_minutes
from results.tables.attempts import done
from results.tables.mending import set_aside_damaged
from results.tables.schema import EVIDENCE, FINALIST
from results.tables.store import read_trials
from study.cluster.packing import largest_configs
from study.cluster.tasks import TaskMaker
from study.commands.dry_run import describe_plan
from study.commands.photographs import check_ids, prepare_data, recognise_photographs, write_image_ids
from study.config import DEFAULT_TRIALS, PRESET_NAMES
from study.errors import ConfigError, refuse_no_study
from study.flags.cli import EXIT_INTERRUPTED, make_folder
from study.loggers.exporting import exporting
from study.loggers.targets import refuse_missing
from study.progress.display import Display
from study.progress.standing import ASKED, REPEATS_ASKED, read_planned, write_asked
from study.search.finalists import Finalists, num_finalists
from study.search.proposer import Search
from study.search.space import paper_configurations, system_configs
from study.settings import StudySettings, lock_study, peek_settings, write_settings
from study.storage.atomic import write_atomically
from study.storage.lock import remove_leftovers
from study.trial.provenance import command_line, data_columns, study_columns
from study.trial.run import check_fits, check_networks

SAMPLE_DATA = "sample data: rendered wound phantoms"
SHORT_NAMES = {  # of studies, by what the data is; a folder's own name might name a patient
    SAMPLE_DATA: "sample",
    "a folder per class": "folders",
    "CSV manifest": "manifest",
    "DFU Part B, Infection": "part-b",
    "Foot Ulcer Segmentation Challenge, images and masks": "segmentation",
}
LONG_AGO_S = 3600.0  # another study's command may be writing among the prepared photographs


def run(options: Namespace) -> int:
    """Prepare, search, report."""
    refuse_missing(options.log)
    if options.name and (Path(options.name).name != options.name or options.name in ("prepared", "..")):
        raise ConfigError(f"--name {options.name!r} cannot be a study's folder in --out; choose one without a slash")
    stored = None
    if options.resume:
        study = study_to_resume(options)
        stored, options.trials = peek_settings(study), options.trials or read_planned(study).get(ASKED)
    settings = StudySettings.resolve(options, stored)
    if options.dry_run:
        return dry_run(options, settings)
    out = make_folder(options.out)
    remove_leftovers(out / "prepared", time.time() - LONG_AGO_S)
    prepared = prepare_data(options, settings.base.image_size, out / "prepared")
    print(prepared.describe(), flush=True)
    folder = out / (options.name or f"{SHORT_NAMES[prepared.layout]}-{settings.preset}")
    if options.resume:
        check_ids(folder, prepared.path)
    if options.image_ids:
        write_image_ids(options.image_ids, prepared)
    check_settings(settings, prepared, options.workers_per_trial)
    # the baseline and the systems come on top
    total = (options.trials or DEFAULT_TRIALS[settings.preset]) + 1 + len(settings.systems)
    with lock_study(folder, settings.record(prepared), options.resume):
        display, began, budget = Display(), time.monotonic(), options.time_budget
        with exporting(folder, options.log, display):
            interrupted = run_search(options, settings, prepared, folder, total, display)
        is_spent = budget is not None and time.monotonic() - began >= budget
        return report(folder, settings, total, interrupted, budget if is_spent else None)


def study_to_resume(options: Namespace) -> Path:
    """The folder of the study that `--resume` means. ConfigError if there is none, or more than one."""
    out = options.out.expanduser().absolute()
    if options.name:
        found = names = [options.name]
    else:
        short = SHORT_NAMES[recognise_photographs(options).layout if options.data else SAMPLE_DATA]
        names = [f"{short}-{preset}" for preset in ([options.preset] if options.preset else PRESET_NAMES)]
        found = [name for name in names if (out / name / "study.json").exists()] or names[:1]
    if len(found) > 1:
        raise ConfigError(f"--resume: {out} holds {len(found)} such studies; add --name {' or --name '.join(found)}")
    refuse_no_study(out / found[0], "study.json", "leave --resume out to start it, or give the --name of another study")
    return out / found[0]


def run_search(
    options: Namespace, settings: StudySettings, prepared: Prepared, folder: Path, total: int, display: Display
) -> bool:
    """Run the trials that the study lacks; returns whether they were interrupted."""
    for line in set_aside_damaged(folder):
        display(line)
    rows = rows_by_id(of_search(folder))
    remaining = max(0, total - len(done(searched(folder))))
    finalists = finalists_of(folder, settings, total, rows, goes_on=remaining > 0)
    repeats = finalists.left(goes_on=remaining > 0)
    resources = None
    if remaining + repeats:
        from study.cluster.start import start_ray  # Ray takes seconds to import: not where nothing is left to run

        gans = largest_configs(settings.base, settings.fixed)
        gans += system_configs(settings.base, settings.systems).values()
        resources = start_ray(options, folder, prepared.path, total - 1, display, gans)
    # The study's file is written only now, so that a command that Ray cannot serve can be corrected and given again.
    write_settings(folder, settings.record(prepared))
    write_asked(folder, total - 1 - len(settings.systems), finalists.most)
    search = Search(
        folder, settings.base, settings.fixed, settings.objective, rows, settings.systems, remaining, finalists
    )
    for line in search.mended:
        display(line)
    if not resources:
        return False
    from study.cluster.driver import run_trials

    display(f"study {folder}: {remaining} trials to run, {total - remaining} done; then {repeats} repeats of the best")
    columns = study_columns(settings.preset, settings.objective) | data_columns(prepared)
    make_task = TaskMaker(folder, prepared.path, columns, resources)
    if options.time_budget:
        search.finish_by(time.monotonic() + options.time_budget, resources.concurrent)
    return run_trials(search, make_task, resources, options.time_budget, display)


def finalists_of(
    folder: Path, settings: StudySettings, total: int, rows: dict[str, dict], goes_on: bool
) -> Finalists:
    """The finalists of a search for a good classifier; a GAN's distance does not depend on one."""
    trials = total - 1 - len(settings.systems)
    num = 0 if settings.objective == "frechet" else num_finalists(trials)
    return Finalists.of_search(num, rows, goes_on, read_planned(folder).get(REPEATS_ASKED))


def report(folder: Path, settings: StudySettings, total: int, interrupted: bool, spent: float | None) -> int:
    """Print the leaderboard, where the tables are, and what is left; returns the exit code.

    `spent`: seconds of a time budget that is used up.
    """
    trials = searched(folder)
    board = leaderboard(of_search(folder), settings.objective)
    write_atomically(folder / "leaderboard.csv", board.to_csv(index=False).encode())
    counts = Counter(done(trials)["status"])
    left = total - counts.total()
    finalists = finalists_of(folder, settings, total, rows_by_id(of_search(folder)), goes_on=left > 0)
    repeats = finalists.left(goes_on=left > 0)
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"\n{format_leaderboard(board, shown, settings.objective)}")
    ended = ", ".join(f"{counts[status]} {status}" for status in ("completed", "pruned", "failed"))
    print(f"{'ended':<16} {ended}, {max(left, 0)} not finished")
    if finalists.num:
        print(f"{'repeated':<16} {finalists.num_begun()} times one of the best, {repeats} not finished")
    by_reuse, by_stopping = saved_minutes(trials)
    print(f"{'saved':<16} by reuse {by_reuse:.1f} min, by stopping {by_stopping:.1f} min of GAN training")
    if damaged := [str(path.relative_to(folder)) for path in folder.rglob("*.damaged")]:
        print(f"{'set aside':<16} {len(damaged)} damaged files: {', '.join(sorted(damaged))}")
    for name in ("trials", "history", "leaderboard.csv", "optuna.db", "gans", "classifiers"):
        if (folder / name).exists():
            print(f"{name:<16} {shown / name}")
    if (left > 0 or repeats) and spent and not interrupted:
        print(f"{'why':<16} the time budget of {spent / 60:.0f} min is used up")
    if left > 0 or repeats:
        print(f"{'to continue':<16} {resume_command()}")
    return EXIT_INTERRUPTED if interrupted else int(counts["completed"] == 0)


def of_search(folder: Path) -> pd.DataFrame:
    """The rows of the search and its finalists, without those of a confirmation."""
    trials = read_trials(folder)
    return trials[~trials["phase"].isin(EVIDENCE)]


def searched(folder: Path) -> pd.DataFrame:
    """The same without the finalists."""
    trials = of_search(folder)
    return trials[trials["phase"] != FINALIST]


def resume_command() -> str:
    command = command_line()
    return command if "--resume" in sys.argv else f"{command} --resume"


def dry_run(options: Namespace, settings: StudySettings) -> int:
    """Print what would be done. Nothing is kept on disk, and Ray is not started."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_data(options, settings.base.image_size, Path(folder))
        print(prepared.describe())
        check_settings(settings, prepared, options.workers_per_trial)
    trials = options.trials or DEFAULT_TRIALS[settings.preset]
    print(describe_plan(settings, prepared.counts, trials, options))
    return 0


def check_settings(settings: StudySettings, prepared: Prepared, num_workers: int) -> None:
    """ConfigError or DataError if the settings cannot work with these data."""
    base, num_train = settings.base, sum(prepared.counts["train"])
    check_networks(base.model_copy(update=paper) for paper in paper_configurations(base, settings.fixed))
    systems = system_configs(base, settings.systems).values()
    check_networks(systems)
    if base.training_part:
        dataset = load_dataset(prepared.path, base.image_size)
        num_train = len(training_subset(dataset, *base.training_groups).side("train").labels)
    for config in (base, *systems):
        check_fits(config, num_train, num_workers)


def rows_by_id(trials: pd.DataFrame) -> dict[str, dict]:
    """Trial id -> row, without empty columns."""
    return {row["trial_id"]: {k: v for k, v in row.items() if v == v} for row in trials.to_dict("records")}
