"""The work of `study/doctor.py`: check whether all that a study needs is there, one line a check."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_utils.errors import DataError
from data_utils.parquet_file import read_table
from data_utils.split import check_class_sizes
from models.feature_extractor import build_feature_extractor
from models.inception import has_inception
from study.cluster.checks import Check, check_gpus, check_ports, check_token, failure, node_checks, survey
from study.cluster.facts import exposed_ports, gpus
from study.cluster.resources import totals
from study.commands.photographs import recognise_photographs
from study.errors import ConfigError
from study.flags.cli import make_folder
from study.gan.quality import INCEPTION_FILE


def run(options: Namespace) -> int:
    """Print each check as it is made; returns 1 if one failed, else 0."""
    failed = 0
    for check in all_checks(options, make_folder(options.out)):
        print(check, flush=True)
        failed += check.ok is False
    print(f"{failed} failed" if failed else "nothing failed")
    return int(failed > 0)


def all_checks(options: Namespace, out: Path) -> Iterator[Check]:
    """Checks of this machine, then of the nodes; of this machine alone if Ray does not answer."""
    prepared = newest_prepared(out)
    yield check_weights(out / "prepared" / INCEPTION_FILE)
    yield Check("hub weights", None, "dinov2, `pretrained`: not tested; fetched when a study uses them")
    yield check_photographs(options)
    yield check_prepared(prepared)
    try:
        yield from ray_checks(options.address, out, prepared)
    except ConfigError as error:
        yield failure("Ray", error)
        yield from node_checks(survey(ask_here, out, prepared), out, prepared)


def ask_here(function, *arguments) -> dict:
    return {"this machine": function(*arguments)}


def ray_checks(address: str | None, out: Path, prepared: Path | None) -> Iterator[Check]:
    """Checks of every node of the cluster. ConfigError if Ray or a node does not answer."""
    from study.cluster import nodes  # Ray takes seconds to import: not for --help
    from study.cluster.connect import connect
    from study.cluster.private import started_here, token_is_demanded

    cpus, num_gpus = totals(connect(address))
    is_ours = started_here()
    where = "started on this machine" if is_ours else f"{len(nodes.living_nodes())} node(s) up"
    yield Check("Ray", True, f"{where}, {cpus} CPU(s), {num_gpus:g} GPU(s)")
    found = survey(nodes.ask_nodes, out, prepared)
    yield from node_checks(found, out, prepared)
    yield check_gpus(nodes.ask_nodes(gpus))
    demanded = token_is_demanded()
    yield check_token(found.nodes, demanded, is_ours)
    yield check_ports(nodes.ask_nodes(exposed_ports, nodes.session_name()), demanded, is_ours)


def check_weights(inception: Path) -> Check:
    """The weights of the feature extractors that are not fetched from a hub."""
    given = inception if inception.exists() else None
    names = ["efficientnet_lite0", *(["inception"] if has_inception(given) else [])]
    try:
        for name in names:
            build_feature_extractor(name, given)
    except (ValueError, OSError, RuntimeError) as error:
        return failure("weights", error)
    absent = "" if "inception" in names else "; inception's are not here, so that no FID is measured"
    return Check("weights", True, f"{' and '.join(names)} are read{absent}")


def check_photographs(options: Namespace) -> Check:
    """The layout of `--data` is recognised, and both classes are large enough; the files are not decoded."""
    if options.data is None:
        return Check("photographs", None, "no --data given: the sample data are embedded")
    try:
        source = recognise_photographs(options)
        labels = [record.label for record in source.records]
        if None not in labels:  # patches are cut from photographs with masks once they are decoded
            check_class_sizes(np.array(labels, dtype=np.int64), notes=source.notes)
    except DataError as error:
        return failure("photographs", error)
    negative, positive = source.class_names
    return Check("photographs", True, f"{len(source.records)}: {source.layout}; 1 = {positive}, 0 = {negative}")


def newest_prepared(out: Path) -> Path | None:
    return max((out / "prepared").glob("*.parquet"), key=lambda path: path.stat().st_mtime, default=None)


def check_prepared(path: Path | None) -> Check:
    """The newest prepared file is undamaged."""
    if path is None:
        return Check("prepared data", None, "none in --out yet; run_sweep.py makes them")
    try:
        table, metadata = read_table(path)
    except DataError as error:
        return failure("prepared data", error)
    return Check("prepared data", True, f"{len(table)} images, fingerprint {metadata['fingerprint']}, undamaged")
