"""The work of `study/benchmark.py`: every system over seeds at an equal cost, then audit and comparisons."""

from argparse import Namespace
from collections import Counter
from pathlib import Path

from data_utils.dataset import load_dataset
from results.stats.evidence import write_evidence
from results.tables.mending import set_aside_damaged
from results.tables.schema import BENCHMARK
from results.tables.store import read_trials
from results.text import wrap
from study.commands.photographs import check_ids
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
from study.config import ALL_SYSTEMS, TrialConfig, make_config
from study.errors import ConfigError
from study.flags.cli import EXIT_INTERRUPTED
from study.gan_audit.study import audit_study
from study.progress.display import Display
from study.search.benchmark import Arms, Budget, benchmark_plan, cost_minutes
from study.search.proposer import FixedTrials, Proposal
from study.search.space import system_configs
from study.settings import hold, stored_settings
from study.trial.record import prepared_file
from study.trial.run import check_networks


def run(options: Namespace) -> int:
    """Run the trials that have no row yet, then audit and compare."""
    if options.systems == ():
        raise ConfigError("--systems none: a benchmark needs at least one system; leave the flag out for all")
    study = options.study.expanduser().absolute()
    settings = stored_settings(study)
    if options.dry_run:
        return plan_and_run(options, study, settings)
    with hold(study):
        for line in set_aside_damaged(study):
            print(line, flush=True)
        return plan_and_run(options, study, settings)


def plan_and_run(options: Namespace, study: Path, settings: dict) -> int:
    base, trials = make_config(settings["config"]), read_trials(study)
    columns = columns_of_study(settings, trials)
    check_base(base)
    prepared = prepared_file(study, settings["data_fingerprint"])
    check_ids(study, prepared)
    dataset = load_dataset(prepared, base.image_size)
    budget, split = Budget(options.minutes, options.images), settings["split_protocol"]
    arms = Arms(options.ratios, options.kept, options.positives, options.fractions, options.classifiers)
    if options.systems is None:
        options.systems = systems_here(base)
    num_train = training_counter(dataset)
    proposals = benchmark_plan(base, options.systems, options.seeds, budget, num_train, split, arms)
    # Parts and seeds have the same networks.
    check_networks({(one.columns["confirms"], one.config.classifier_key): one.config for one in proposals}.values())
    check_proposals(proposals, dataset, options.workers_per_trial, "--systems, --positives or --fractions")
    waiting = without_row(proposals, trials)
    print(describe(options, base, budget, proposals, waiting), flush=True)
    if options.dry_run:
        return 0
    fixed = FixedTrials(study, base, waiting, BENCHMARK, trained=trained_gans(proposals, trials))
    display = Display()
    if run_on_ray(options, fixed, dataset, columns, None, display):
        print("interrupted; run the same command again to continue")
        return EXIT_INTERRUPTED
    return write_findings(study, display)


def systems_here(base: TrialConfig) -> tuple[str, ...]:
    """All systems but those that cannot be built here, for want of weights say; a line tells of each of them."""
    found = []
    for name in ALL_SYSTEMS:
        try:
            check_networks(system_configs(base, [name]).values())
            found.append(name)
        except ConfigError as error:
            print(wrap(f"left out     {name}: {error}"), flush=True)
    return tuple(found)


def describe(
    options: Namespace, base: TrialConfig, budget: Budget, proposals: list[Proposal], waiting: list[Proposal]
) -> str:
    """What will be run: systems, cost, arms with their number of trials."""
    each = f"{budget.minutes:g} minutes of training" if budget.minutes else f"{budget.images} real images seen"
    lines = [f"systems      {', '.join(options.systems)}"]
    lines.append(f"each         {each}, {options.seeds} seeds, in arms with and without real images")
    further = {"ratios": "of synthetic to real images", "kept": "of the images, the most real ones"}
    further["positives"] = "of the positive groups, with each remedy and filled up by each system"
    further["fractions"] = "of the groups, with GANs of these alone and after all images without labels"
    for name, words in further.items():
        if (values := getattr(options, name)) not in ((), (1.0,)):
            lines.append(f"{name:<12} {', '.join(f'{value:g}' for value in values)} {words}")
    if options.classifiers:
        others = [name for name in options.classifiers if name != base.classifier]
        lines.append(", ".join([f"classifiers  {base.classifier} (the study's own)", *others]))
    lines.append(f"trials       {len(proposals)}, of which {len(proposals) - len(waiting)} are done")
    lines += [f"  {number:3d} x {name}" for name, number in Counter(map(arm_in_words, proposals)).items()]
    if minutes := cost_minutes(waiting):
        lines.append(f"time         {minutes:g} minutes of GAN training at most, divided among the trials at once")
    return "\n".join(map(wrap, lines))


def arm_in_words(proposal: Proposal) -> str:
    """Arm, part of the training groups, split and classifier."""
    return f"{condition(proposal)}, classifier {proposal.config.classifier}"


def write_findings(study: Path, display: Display) -> int:
    """Audit the GANs, write comparisons, and say where; returns the exit code."""
    display("auditing the GANs")
    try:
        audit_study(study, display)
    except ConfigError as error:  # no GAN to audit; the arms without one count all the same
        display(f"no audit: {error}")
    display("comparisons")
    write_evidence(study)
    trials = read_trials(study)
    rows = trials[trials["phase"] == BENCHMARK]
    ended = Counter(rows["status"])
    shown = study.relative_to(Path.cwd()) if study.is_relative_to(Path.cwd()) else study
    print(f"\n{'ended':<16} {ended['completed']} completed, {ended['failed']} failed")
    whole = (rows["training_fraction"] == 1) & (rows["positive_fraction"] == 1)
    gans = rows[whole & rows["confirms"].notna() & (rows["status"] == "completed")].drop_duplicates("gan_key")
    for name, distances in gans.groupby("confirms")["frechet_distance"]:
        deviation = f" ± {distances.std():.1f}" if len(distances) > 1 else ""
        print(f"{name:<32} Frechet {distances.mean():.1f}{deviation}, {len(distances)} seeds")
    for name in ("trials", "generator_metrics", "comparisons"):
        print(f"{name:<16} {shown / name}")
    print(f"{'to read it':<16} python results/report.py {shown}")
    return int(ended["completed"] == 0)
