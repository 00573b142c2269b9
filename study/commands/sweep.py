"""The work of `study/run_sweep.py`: the main command: prepare the photographs, search, print the leaderboard."""

import csv
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pandas as pd

from data_utils.dataset import load_dataset, training_subset
from data_utils.layouts import recognise
from data_utils.prepare import prepare
from data_utils.prepared import Prepared, ProgressLines
from models.feature_extractor import build_feature_extractor
from results.leaderboard import format_leaderboard, leaderboard, saved_minutes
from results.tables.mending import set_aside_damaged
from results.tables.store import read_trials
from study.cli import EXIT_INTERRUPTED, Announcer, make_folder
from study.cluster.checks import refuse_unfit_nodes
from study.cluster.packing import share_of_a_gpu
from study.cluster.resources import share_out, what_ray_has
from study.cluster.tasks import TaskMaker
from study.config import DEFAULT_TRIALS, PRESET_NAMES
from study.dry_run import describe_plan
from study.errors import ConfigError
from study.gan.quality import INCEPTION_FILE, warm_features
from study.search.attempts import runs_again
from study.search.proposer import Search
from study.search.space import paper_configurations, system_configs
from study.settings import StudySettings, lock_study, peek_settings, write_settings
from study.storage.atomic import write_atomically
from study.storage.lock import remove_leftovers
from study.trial.provenance import command_line, data_columns, study_columns
from study.trial.run import check_fits, check_networks

SHORT_NAMES = {  # of studies, by what the data is; a folder's own name might name a patient
    "sample data: rendered wound phantoms": "sample",
    "a folder per class": "folders",
    "CSV manifest": "manifest",
    "DFU Part B, Infection": "part-b",
    "Foot Ulcer Segmentation Challenge, images and masks": "segmentation",
}
LONG_AGO_S = 3600.0  # another study's command may be writing among the prepared photographs


def run(options: Namespace) -> int:
    """Prepare, search, report."""
    if options.dry_run:
        return dry_run(options)
    settings = StudySettings.resolve(options, settings_to_resume(options))
    out = make_folder(options.out)
    remove_leftovers(out / "prepared", time.time() - LONG_AGO_S)
    prepared = prepare_data(options, settings.base.image_size, out / "prepared")
    print(prepared.describe(), flush=True)
    if options.image_ids:
        write_image_ids(options.image_ids, prepared)
    check_settings(settings, prepared, options.workers_per_trial)
    folder = out / (options.name or f"{SHORT_NAMES[prepared.layout]}-{settings.preset}")
    record = settings.record(prepared)
    with lock_study(folder, record, options.resume):
        return search_and_report(options, settings, prepared, folder, record)


def settings_to_resume(options: Namespace) -> dict | None:
    """The settings of the study that `--resume` means; None where that is not clear or not readable yet."""
    if not options.resume:
        return None
    out = options.out.expanduser()
    if options.name:
        return peek_settings(out / options.name)
    known = {"positive": options.positive, "negative": options.negative, "group_pattern": options.group_pattern}
    layout = recognise(options.data, **known).layout if options.data else "sample data: rendered wound phantoms"
    presets = [options.preset] if options.preset else PRESET_NAMES
    found = [peek_settings(out / f"{SHORT_NAMES[layout]}-{preset}") for preset in presets]
    started = [settings for settings in found if settings]
    return started[0] if len(started) == 1 else None


def search_and_report(
    options: Namespace, settings: StudySettings, prepared: Prepared, folder: Path, record: dict
) -> int:
    from study.cluster.connect import connect
    from study.cluster.driver import run_trials
    from study.cluster.nodes import ask_a_gpu, ask_nodes  # Ray takes seconds to import: not for --help

    announce = Announcer()
    for line in set_aside_damaged(folder):
        announce(line)
    trials = searched(folder)
    rows = rows_by_id(trials)
    total = (options.trials or DEFAULT_TRIALS[settings.preset]) + 1 + len(settings.systems)  # and the baseline
    remaining = total - len(done(trials))
    interrupted, resources = False, None
    if remaining > 0:
        announce("starting Ray")
        machines = connect(options.address)
        refuse_unfit_nodes(ask_nodes, folder, prepared.path)
        gpus_per_trial = options.gpus_per_trial
        beside_a_gpu = [int(machine.cpus // machine.gpus) for machine in machines if machine.gpus]
        if gpus_per_trial is None and beside_a_gpu and options.workers_per_trial == 1:
            announce("measuring how many trials fit on a GPU")
            gpus_per_trial = share_of_a_gpu(ask_a_gpu, settings.base, settings.fixed, min(beside_a_gpu))
        resources = share_out(machines, total - 1, options.workers_per_trial, gpus_per_trial)
        announce(f"{what_ray_has(machines)}: {resources}")
    # Only now does the study exist: a command that Ray cannot serve can be corrected and given again.
    write_settings(folder, record)
    search = Search(folder, settings.base, settings.fixed, settings.objective, rows, settings.systems)
    for line in search.mended:
        announce(line)
    if resources:
        announce("measuring the real images' features")
        warm_features(settings.base, load_dataset(prepared.path, settings.base.image_size))
        announce(f"study {folder}: {remaining} trials to run, {total - remaining} done")
        columns = study_columns(settings.preset, settings.objective) | data_columns(prepared)
        make_task = TaskMaker(folder, prepared.path, columns, resources)
        interrupted = run_trials(search, make_task, resources, remaining, options.time_budget, announce)
    return report(folder, settings.objective, total, interrupted)


def report(folder: Path, objective: str, total: int, interrupted: bool) -> int:
    """Print the leaderboard, where the tables are, and what is left; returns the exit code."""
    trials = searched(folder)
    board = leaderboard(trials, objective)
    write_atomically(folder / "leaderboard.csv", board.to_csv(index=False).encode())
    counts = Counter(done(trials)["status"])
    left = total - counts.total()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"\n{format_leaderboard(board, shown)}")
    ended = ", ".join(f"{counts[status]} {status}" for status in ("completed", "pruned", "failed"))
    print(f"{'ended':<16} {ended}, {max(left, 0)} not finished")
    by_reuse, by_stopping = saved_minutes(trials)
    print(f"{'saved':<16} by reuse {by_reuse:.1f} min, by stopping {by_stopping:.1f} min of GAN training")
    if damaged := [str(path.relative_to(folder)) for path in folder.rglob("*.damaged")]:
        print(f"{'set aside':<16} {len(damaged)} damaged files: {', '.join(sorted(damaged))}")
    for name in ("trials", "history", "leaderboard.csv", "optuna.db", "gans"):
        print(f"{name:<16} {shown / name}")
    if left > 0:
        print(f"{'to go on':<16} {resume_command()}")
    return EXIT_INTERRUPTED if interrupted else int(counts["completed"] == 0)


def searched(folder: Path) -> pd.DataFrame:
    """The rows of the search, without those of a confirmation."""
    trials = read_trials(folder)
    return trials[trials["phase"] != "confirm"]


def resume_command() -> str:
    command = command_line()
    return command if "--resume" in sys.argv else f"{command} --resume"


def dry_run(options: Namespace) -> int:
    """Print what would be done; nothing is kept on disk and no Ray is started."""
    settings = StudySettings.resolve(options)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_data(options, settings.base.image_size, Path(folder))
        print(prepared.describe())
        check_settings(settings, prepared, options.workers_per_trial)
    trials = options.trials or DEFAULT_TRIALS[settings.preset]
    print(describe_plan(settings.base, settings.fixed, prepared.counts, trials, options))
    return 0


def check_settings(settings: StudySettings, prepared: Prepared, num_workers: int) -> None:
    """ConfigError or DataError, before anything runs, where the trials' settings cannot work with these data."""
    base, num_train = settings.base, sum(prepared.counts["train"])
    check_networks(base.model_copy(update=paper) for paper in paper_configurations(base, settings.fixed))
    systems = system_configs(base, settings.systems).values()
    check_networks(systems)
    if base.training_fraction < 1:
        dataset = load_dataset(prepared.path, base.image_size)
        num_train = len(training_subset(dataset, base.training_fraction, base.seed).side("train").labels)
    for config in (base, *systems):
        check_fits(config, num_train, num_workers)


def prepare_data(options: Namespace, image_size: int, folder: Path) -> Prepared:
    """The prepared file of `--data`, with Inception's weights laid beside it where they were given."""
    prepared = prepare(
        options.data,
        folder,
        image_size=image_size,
        split_protocol=options.split,
        split_seed=options.split_seed,
        positive=options.positive,
        negative=options.negative,
        group_pattern=options.group_pattern,
        skip_bad=options.skip_bad,
        progress=ProgressLines(),
    )
    if options.inception_weights:
        build_feature_extractor("inception", options.inception_weights)  # raises for a wrong file
        write_atomically(folder / INCEPTION_FILE, options.inception_weights.read_bytes())
    return prepared


def write_image_ids(path: Path, prepared: Prepared) -> None:
    """The file of each image beside its salted id, readable by its owner alone; ConfigError where it cannot be."""
    try:
        private = {"opener": lambda name, flags: os.open(name, flags, 0o600)}
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # a file that exists keeps its mode: replace it
            new = Path(folder, path.name)
            # A file's name need not be UTF-8.
            with open(new, "w", newline="", encoding="utf-8", errors="surrogateescape", **private) as file:
                csv.writer(file).writerows([("file", "image_id"), *prepared.files])
            new.replace(path)
    except OSError as error:
        raise ConfigError(f"--image-ids {path} cannot be written ({error.strerror}); choose another file") from None
    print(f"image ids    {path}; it names your files: keep it private", flush=True)


def rows_by_id(trials: pd.DataFrame) -> dict[str, dict]:
    """Each trial's row without its empty columns."""
    return {row["trial_id"]: {k: v for k, v in row.items() if v == v} for row in trials.to_dict("records")}


def done(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials that are not run again: all but those lost to a machine that have an attempt left."""
    return trials[[not runs_again(reason) for reason in trials["reason"]]]
