"""Joins Ray for a command, or starts it, and shares its machines out among the trials."""

import math
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path

from study.cluster.checks import refuse_unfit_nodes
from study.cluster.connect import connect
from study.cluster.nodes import ask_a_gpu, ask_nodes
from study.cluster.packing import share_of_a_gpu
from study.cluster.resources import Resources, share_out, totals, what_ray_has
from study.config import TrialConfig
from study.progress.display import Display


def start_ray(
    options: Namespace, folder: Path, prepared: Path, trials: int, display: Display, gans: Collection[TrialConfig] = ()
) -> Resources:
    """What each of so many trials of the study in `folder` gets, on nodes that have been checked. Raises ConfigError.

    As many trials of one worker share a GPU as the largest of `gans` lets in, unless `--gpus-per-trial` says how many;
    without `gans` each has one to itself.
    """
    display("starting Ray")
    machines = connect(options.address)
    refuse_unfit_nodes(ask_nodes, folder, prepared)
    gpus_per_trial = options.gpus_per_trial
    cpus_per_gpu = [int(machine.cpus // machine.gpus) for machine in machines if machine.gpus]
    if gans and gpus_per_trial is None and cpus_per_gpu and options.workers_per_trial == 1:
        display("measuring how many trials fit on a GPU")
        with_work = math.ceil(trials / totals(machines).gpus)
        gpus_per_trial = share_of_a_gpu(ask_a_gpu, gans, min(*cpus_per_gpu, with_work))
    resources = share_out(machines, trials, options.workers_per_trial, gpus_per_trial)
    display(f"{what_ray_has(machines)}: {resources}")
    return resources
