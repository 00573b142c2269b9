"""The work of `study/confirm.py`: run the best trials and the paper's again, over new seeds and arms."""

import shutil
import tempfile
from argparse import Namespace
from collections import Counter
from functools import partial
from pathlib import Path

import pandas as pd

from data_utils.dataset import load_dataset
from data_utils.errors import DataError
from data_utils.layouts import recognise
from data_utils.resplit import resplit
from results.stats.evidence import write_evidence
from results.tables.attempts import done
from results.tables.mending import set_aside_damaged
from results.tables.schema import ATTRIBUTES, CONFIRMED
from results.tables.store import read_trials, write_rows
from study.commands.judging import check_judging, judging_lines, judging_proposals
from study.commands.photographs import check_ids, names
from study.commands.repeated import (
    check_base,
    check_proposals,
    columns_of_study,
    condition,
    run_on_ray,
    trained_gans,
    training_counter,
    without_row,
)
from study.config import TrialConfig, make_config
from study.errors import ConfigError
from study.flags.cli import EXIT_INTERRUPTED
from study.gan_audit.study import audit_study
from study.gan_audit.subgroups import read_subgroups
from study.loggers.exporting import exporting
from study.loggers.targets import refuse_missing
from study.progress.display import Display
from study.search.confirmation import (
    OTHER_SPLIT,
    Protocol,
    choose_trials,
    distinct_gans,
    plan,
)
from study.search.external import check_done_trials, prepare_external
from study.search.proposer import FixedTrials, Proposal
from study.settings import hold, stored_settings
from study.trial.record import prepared_file, row_config


def run(options: Namespace) -> int:
    """Run the trials that have no row yet, then audit and compare."""
    refuse_missing(options.log)
    study = options.study.expanduser().absolute()
    settings, display = stored_settings(study), Display()
    if options.dry_run:
        return plan_and_run(options, study, settings, display)
    with hold(study):
        for line in set_aside_damaged(study):
            print(line, flush=True)
        with exporting(study, options.log, display):
            return plan_and_run(options, study, settings, display)


def plan_and_run(options: Namespace, study: Path, settings: dict, display: Display) -> int:
    base, trials = make_config(settings["config"]), read_trials(study)
    check_base(base)
    check_judging(trials, options.judge_seeds)
    sources = chosen_configs(trials, settings["objective"], options)
    prepared, split = prepared_file(study, settings["data_fingerprint"]), settings["split_protocol"]
    check_ids(study, prepared)
    splittable = can_split(prepared, OTHER_SPLIT[split], options.dry_run)
    protocol = Protocol(options.seeds, options.ratios, options.fractions, splittable, options.judge_seeds)
    dataset = load_dataset(prepared, base.image_size)
    proposals = plan(sources, base, protocol, split, training_counter(dataset))
    waiting = without_row(proposals, trials)
    print(describe(sources, proposals, len(proposals) - len(waiting)), flush=True)
    print(*judging_lines(study, trials, protocol), sep="\n", flush=True)
    check_proposals(waiting, dataset, options.workers_per_trial, "--fractions or --ratios")
    subgroups = read_subgroups(options.subgroups, dataset, study.name) if options.subgroups else []
    if options.test_data:  # by names alone; refused before anything else is done
        recognise(options.test_data, **names(options))
    if options.dry_run:
        return 0
    external = None
    if options.test_data:
        with display.counting() as progress:
            external = prepare_external(options, dataset, progress)
    if external:
        check_done_trials(study, external, trials, split)
    columns = columns_of_study(settings, trials)
    judging = partial(judging_proposals, study, base, protocol.num_judging, split)  # once the choice can be made
    judged = done(trials).query("phase == 'judge'")
    num_then = max(0, protocol.num_judging_trials - len(judged))
    gans_then = max(0, protocol.num_judging - int(judged["gan_key"].notna().sum()))
    trained = trained_gans(proposals, trials)
    confirmation = FixedTrials(
        study, base, waiting, then=judging, num_then=num_then, gans_then=gans_then, trained=trained
    )
    if run_on_ray(options, confirmation, dataset, columns, external, display, sources.values()):
        print("interrupted; run the same command again to continue")
        return EXIT_INTERRUPTED
    return write_findings(study, subgroups, display)


def chosen_configs(trials: pd.DataFrame, objective: str, options: Namespace) -> dict[str, TrialConfig]:
    """Id -> config of the trials to confirm, the best by validation first."""
    rows = trials.set_index("trial_id", drop=False)
    chosen = choose_trials(trials, objective, options.top, options.trials)
    return distinct_gans({name: row_config(rows.loc[name].to_dict()) for name in chosen})


def describe(sources: dict[str, TrialConfig], proposals: list[Proposal], num_done: int) -> str:
    """The confirmation's trials, in a few lines."""
    lines = [f"confirming   the GANs of {len(sources)} trials, with new seeds"]
    lines += [
        f"  {name:<12} {config.in_words} ratio {config.synthetic_ratio:g}"
        for name, config in sources.items()
    ]
    lines.append(f"trials       {len(proposals)}, of which {num_done} are done")
    lines += [f"  {number:3d} x {name}" for name, number in Counter(map(condition, proposals)).items()]
    return "\n".join(lines)


def can_split(prepared: Path, protocol: str, dry_run: bool) -> bool:
    """Whether the images can be split by the other protocol; prints why not. A dry run leaves no file behind."""
    try:
        if not dry_run:
            return bool(resplit(prepared, protocol))
        with tempfile.TemporaryDirectory() as folder:
            return bool(resplit(Path(shutil.copy(prepared, folder)), protocol))
    except DataError as error:
        print(f"no arms under the {protocol} split: {error}")
        return False


def write_findings(study: Path, subgroups: list[dict], display: Display) -> int:
    """Audit the GANs, write estimates and comparisons, and say where; returns the exit code."""
    display("auditing the GANs")
    try:
        audit_study(study, display)
    except ConfigError as error:  # no GAN to audit; what was diagnosed counts all the same
        display(f"no audit: {error}")
    if subgroups:
        write_rows(study / "attributes" / "file.parquet", subgroups, ATTRIBUTES)
    display("estimates and comparisons")
    write_evidence(study)
    trials = read_trials(study)
    ended = Counter(trials.loc[trials["phase"].isin(CONFIRMED), "status"])
    shown = study.relative_to(Path.cwd()) if study.is_relative_to(Path.cwd()) else study
    print(f"\n{'ended':<16} {ended['completed']} completed, {ended['failed']} failed")
    for name in ("trials", "predictions", "generator_metrics", "estimates", "comparisons"):
        if (study / name).exists():
            print(f"{name:<16} {shown / name}")
    print(f"{'to read it':<16} python results/report.py {shown}")
    return int(ended["completed"] == 0)
