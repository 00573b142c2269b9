"""The audit of a study: which GANs, against which real images, into which tables."""

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pandas as pd
import torch

from data_utils.dataset import Dataset, load_dataset
from models.feature_extractor import FeatureExtractor, build_feature_extractor, has_efficientnet_lite
from models.inception import has_inception
from results.stats.evidence import verdict_in_words
from results.tables.schema import ATTRIBUTES, EVIDENCE, GENERATOR_METRICS, NEIGHBOURS, REPEATED
from results.tables.store import read_table, read_trials, write_rows
from study.config import GanConfig
from study.errors import ConfigError, refuse_no_study
from study.gan.folder import GanFolder
from study.gan.quality import inception_weights
from study.gan.store import read_result
from study.gan_audit.audit import audit_gan
from study.gan_audit.reference import Reference, seen_by
from study.gan_audit.subgroups import real_skin_tones, synthetic_skin_tones
from study.training.memory import keep_freed_memory
from study.training.precision import allow_tf32
from study.trial.record import prepared_file, row_config


def audit_study(study: Path, announce: Callable[[str], None] = print, everything: bool = False) -> None:
    """Audit the GANs of confirming trials on the whole training side of the study's split; `everything`: of all trials.

    Fills the tables generator_metrics, neighbours and attributes, one file a GAN, and leaves out those that are there.
    Raises ConfigError where there is no such GAN or its prepared data is missing, DataError where that is damaged.
    """
    keep_freed_memory()
    allow_tf32(False)  # the images of all GANs are made alike
    rows = gan_rows(study, everything)
    audited = set(read_table(study, "generator_metrics")["gan_key"])
    waiting = [row for row in rows if row["gan_key"] not in audited]
    announce(f"{len(rows)} GANs, of which {len(rows) - len(waiting)} are audited already")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    number = 0
    for row, references in with_references(study, waiting, device, announce):
        started, number = time.perf_counter(), number + 1
        verdict = audit_row(study, row, references, device)
        seconds = time.perf_counter() - started
        announce(f"audited {number} of {len(waiting)}: GAN of {row['trial_id']}, {seconds:.0f} s: {verdict}")


def gan_rows(study: Path, everything: bool) -> list[dict]:
    """A completed trial's row for each finished GAN: those of one data set together, of the study's own split first."""
    refuse_no_study(study)
    trials = read_trials(study)
    chosen = trials[(trials["status"] == "completed") & trials["gan_key"].notna()]
    searched = trials[~trials["phase"].isin(REPEATED)]
    own_split = (trials if searched.empty else searched)["split_protocol"].iloc[0]
    if not everything:
        confirmed = chosen["phase"].isin(EVIDENCE) & (chosen["split_protocol"] == own_split)
        chosen = chosen[confirmed & (chosen["training_fraction"] == 1) & (chosen["positive_fraction"] == 1)]
    chosen = chosen.sort_values(["gan_reused", "trial_id"]).drop_duplicates("gan_key")  # the one that trained it
    rows = [row for row in chosen.to_dict("records") if read_result(GanFolder(study / "gans" / row["gan_key"]))]
    if not rows:
        raise ConfigError(
            f"{study} has no finished GAN of a completed trial"
            + ("" if everything else " that confirms another; run study/confirm.py first, or add --all")
        )
    return sorted(rows, key=lambda row: (row["split_protocol"] != own_split, data_key(row)))


def data_key(row: dict) -> tuple:
    """Equal for GANs that were trained on the same images; whole training sides first."""
    config = row_config(row)
    part = (-config.training_fraction, config.training_part, config.pretraining)
    return row["split_protocol"], row["data_fingerprint"], row["image_size"], *part


def with_references(
    study: Path, rows: list[dict], device: torch.device, announce: Callable[[str], None]
) -> Iterator[tuple[dict, list[Reference]]]:
    """Each row with what its GAN is audited against, one for each extractor; loaded once for rows of equal data.

    Real images' skin tones are written on the way, where they are not there yet.
    """
    extractors: list[FeatureExtractor] = []
    for _, group in groupby(rows, data_key):
        alike = list(group)
        config, path = row_config(alike[0]), prepared_file(study, alike[0]["data_fingerprint"])
        dataset = load_dataset(path, config.image_size)
        write_real_skin_tones(study, dataset)
        extractors = extractors or build_extractors(config, path.parent, device)
        seen = seen_by(config, dataset)
        references = []
        for extractor in extractors:
            announce(f"features of the real images, by {extractor.name}")
            references.append(Reference(seen, extractor))
        yield from ((row, impartial(references, row_config(row))) for row in alike)


def build_extractors(config: GanConfig, prepared_folder: Path, device: torch.device) -> list[FeatureExtractor]:
    """The study's own extractor, EfficientNet-Lite0, and others whose weights are at hand: Lite1, and Inception where
    the FID is wanted."""
    weights = inception_weights(prepared_folder)
    inception = ["inception"] if config.measure_fid and has_inception(weights) else []
    lite1 = ["efficientnet_lite1"] if has_efficientnet_lite(1) else []
    names = dict.fromkeys([config.feature_extractor, "efficientnet_lite0", *lite1, *inception])
    return [build_feature_extractor(name, weights, device) for name in names]


def impartial(references: list[Reference], config: GanConfig) -> list[Reference]:
    """Without the network whose features the GAN's critic saw: what it was trained on cannot judge it."""
    return [reference for reference in references if reference.extractor.name != config.critic_network]


def audit_row(study: Path, row: dict, references: list[Reference], device: torch.device) -> str:
    """Audit a row's GAN and write its tables; returns the verdict in words."""
    config, gan_key = row_config(row), row["gan_key"]
    audit, images = audit_gan(config, GanFolder(study / "gans" / gan_key), references, device)
    named = {"study": study.absolute().name, "gan_key": gan_key}
    gan = {"trial_id": row["trial_id"], "confirms": row["confirms"] if pd.notna(row["confirms"]) else None}
    is_recurrent = config.generator == "recurrent"  # others have no such blocks
    gan |= {name: getattr(config, name) if is_recurrent else None for name in ("backbone", "lstm_depth")}
    gan["seed"] = config.seed
    tones = synthetic_skin_tones(**named, images=images)
    write_rows(study / "attributes" / f"ita-{gan_key}.parquet", tones, ATTRIBUTES)
    write_rows(study / "neighbours" / f"{gan_key}.parquet", [named | line for line in audit.neighbours], NEIGHBOURS)
    metrics = [named | gan | line for line in audit.metrics]
    # Last: this table says which GANs are audited.
    write_rows(study / "generator_metrics" / f"{gan_key}.parquet", metrics, GENERATOR_METRICS)
    return verdict_in_words({line["feature_extractor"]: line["verdict"] for line in metrics if line["label"] is None})


def write_real_skin_tones(study: Path, dataset: Dataset) -> None:
    """Fill the table attributes with the real images' estimated skin tones, unless it holds them."""
    attributes = read_table(study, "attributes")
    if not ((attributes["source"] == "ITA estimate") & (attributes["kind"] == "real")).any():
        rows = real_skin_tones(study.absolute().name, dataset)
        write_rows(study / "attributes" / "ita-real.parquet", rows, ATTRIBUTES)
