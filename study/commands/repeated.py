"""What a confirmation and a benchmark share: a fixed list of a study's trials, run on Ray."""

from argparse import Namespace
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import pandas as pd

from data_utils.dataset import Dataset, training_subset
from results.tables.attempts import done
from results.tables.schema import REPEATED
from study.cluster.tasks import TaskMaker
from study.config import GanConfig, TrialConfig
from study.errors import ConfigError
from study.progress.display import Display
from study.search.confirmation import MIXED
from study.search.proposer import FixedTrials, Proposal, shared_gan
from study.trial.provenance import study_columns
from study.trial.run import check_fits

DATA_COLUMNS = (
    "data_fingerprint", "data_layout", "is_sample_data", "split_protocol", "split_seed", "num_near_duplicates",
    "num_skipped_files", "negative_class", "positive_class",
)  # fmt: skip


def columns_of_study(settings: dict, trials: pd.DataFrame) -> dict:
    """The columns that a study's trials share. ConfigError if none of its search has ended."""
    # A confirmation has rows of the other split, too.
    searched = trials[~trials["phase"].isin(REPEATED)]
    if searched.empty:
        raise ConfigError("no trial of this study has ended; go on with study/run_sweep.py --resume")
    columns = study_columns(settings["preset"], settings["objective"])
    return columns | {name: searched.iloc[0][name] for name in DATA_COLUMNS}


def without_row(proposals: list[Proposal], trials: pd.DataFrame) -> list[Proposal]:
    """The proposals still to run; a trial lost to a machine runs again while it has an attempt left."""
    ended = done(trials)
    return [proposal for proposal in proposals if proposal.trial_id not in set(ended["trial_id"])]


def check_base(base: TrialConfig) -> None:
    """ConfigError if a study's fixed fields leave a confirmation or a benchmark without an arm to compare with."""
    if base.training_part:
        raise ConfigError(
            f"training_fraction={base.training_fraction:g}, positive_fraction={base.positive_fraction:g}: "
            "take a study that trains on all groups"
        )
    if base.model_copy(update=MIXED | {"synthetic_ratio": 0.0}).arm == "real_unaugmented":
        raise ConfigError("the study has no classical augmentation: take a study with rotation or classifier_flip")


def trained_gans(proposals: list[Proposal], trials: pd.DataFrame) -> set[str]:
    """The GANs of those that have completed."""
    completed = set(trials.loc[trials["status"] == "completed", "trial_id"])
    return {gan for one in proposals if one.trial_id in completed and (gan := shared_gan(one))}


def check_proposals(proposals: list[Proposal], dataset: Dataset, num_workers: int, way_out: str) -> None:
    """ConfigError or DataError if a part of the training set is too small for a batch; `way_out` ends the message."""
    num_train = training_counter(dataset)
    for proposal in proposals:
        try:
            check_fits(proposal.config, num_train(proposal.config), num_workers)
        except ConfigError as error:
            raise ConfigError(f"{condition(proposal)}: {error}; or choose other {way_out}") from None


def training_counter(dataset: Dataset) -> Callable[[GanConfig], int]:
    """How many training images the configs of a study use, each part counted once. It raises DataError for none."""
    count = cache(lambda *part: len(training_subset(dataset, *part).side("train").labels))
    return lambda config: count(*config.training_groups)


def condition(proposal: Proposal) -> str:
    """Arm, part of the training groups, pretraining and split, in words."""
    config = proposal.config
    arm = config.arm.replace("_", " ") + config.part_in_words
    if config.uses_gan and config.pretraining == "unlabelled":
        arm += ", GAN pretrained without labels"
    return f"{arm}, {proposal.columns['split_protocol']} split"


def run_on_ray(
    options: Namespace,
    trials: FixedTrials,
    dataset: Dataset,
    columns: dict,
    external: Path | None,
    display: Display,
    gans: Collection[TrialConfig] = (),
) -> bool:
    """Run the waiting trials on Ray; returns whether they were interrupted. For `gans` see `start_ray`."""
    if not trials.num_left():
        return False
    from study.cluster.driver import run_trials  # Ray takes seconds to import: not for --help
    from study.cluster.start import start_ray

    resources = start_ray(options, trials.folder, dataset.path, trials.num_left(), display, gans)
    make_task = TaskMaker(trials.folder, dataset.path, columns, resources, more_tests=True, external=external)
    return run_trials(trials, make_task, resources, None, display)
