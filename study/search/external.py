"""Another data set as an external test: prepared, and refused where its scores would tell nothing."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_utils.dataset import Dataset, load_dataset
from data_utils.duplicates.pairs import Progress, find_pairs, signature
from data_utils.parquet_file import read_table as read_prepared
from data_utils.patches import listing
from data_utils.prepare import prepare
from data_utils.prepared import Prepared
from results.tables.schema import CONFIRMED
from results.tables.store import read_table
from study.errors import ConfigError


def prepare_external(options: Namespace, dataset: Dataset, progress: Progress) -> Path:
    """The prepared file of `--test-data`, with what it holds said on the terminal; its own split is not used.

    Raises ConfigError where its classes are called otherwise than the study's, or where it shares images with the
    study, or has some that look like one of the study's; DataError for whatever else is wrong with it.
    """
    external = prepare(
        options.test_data,
        dataset.path.parent,
        image_size=dataset.images.shape[-1],
        split_protocol="none",
        positive=options.positive,
        negative=options.negative,
        group_pattern=options.group_pattern,
        copies=options.copies,
        skip_bad=options.skip_bad,
        progress=progress,
    )
    count = sum(map(sum, external.counts.values()))
    if external.class_names != dataset.class_names:
        theirs, ours = (" and ".join(names) for names in (external.class_names, dataset.class_names))
        raise ConfigError(f"--test-data: its classes are {theirs}, the study's {ours}; call them alike where they are")
    if shared := image_ids(external.path) & set(dataset.image_ids):
        raise ConfigError(
            f"--test-data: {len(shared)} of its {count} images are in the study, too; an external test set holds others"
        )
    if options.copies != "equal" and (copies := looking_alike(external, dataset, progress)):
        raise ConfigError(
            f"--test-data: {len(copies)} of its {count} images look like images of the study; an external test set "
            f"holds others, so take them out:{listing(copies)}"
        )
    print(f"external     {count} images in {external.num_groups} groups, all of them a test", flush=True)
    return external.path


def looking_alike(external: Prepared, dataset: Dataset, progress: Progress) -> list[str]:
    """The names of external images that show what an image of the study shows: in another format, cut or turned."""
    theirs = load_dataset(external.path, external.image_size)
    images = torch.cat([dataset.images.cpu(), theirs.images]).permute(0, 2, 3, 1).numpy()
    is_external = np.arange(len(images)) >= len(dataset.images)
    signatures = [signature(Image.fromarray(image)) for image in images]
    found = find_pairs(signatures, is_external.astype(int), np.zeros(len(images), dtype=int), progress)
    ids = set(theirs.image_ids[found[:, 1] - len(dataset.images)])
    return [name for name, image_id in external.files if image_id in ids]


def image_ids(prepared: Path) -> set[str]:
    """Equal pictures have equal ids in all files of a folder."""
    return set(read_prepared(prepared)[0]["image_id"].to_pylist())


def check_done_trials(study: Path, external: Path, trials: pd.DataFrame, split: str) -> None:
    """ConfigError where confirming trials that are done were not tested on these images."""
    confirmed = trials[(trials["phase"].isin(CONFIRMED)) & (trials["status"] == "completed")]
    done = confirmed[confirmed["split_protocol"] == split]
    predictions = read_table(study, "predictions")
    tested = predictions[predictions["side"] == "external"].groupby("trial_id")["image_id"].agg(set)
    ids = image_ids(external)
    if untested := [name for name in done["trial_id"] if tested.get(name) != ids]:
        raise ConfigError(
            f"--test-data: {len(untested)} trials are done and were not tested on it, such as {untested[0]}; move "
            f"their files in {study / 'trials'} away to run them again (their GANs are kept), or leave --test-data out"
        )
