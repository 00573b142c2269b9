"""The machines of a cluster, and how their CPUs and GPUs are divided among trials."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from study.errors import ConfigError


class Machine(NamedTuple):
    """The CPUs and GPUs of one node that trials may use."""

    cpus: int
    gpus: float

    def workers(self, cpus_each: int, gpus_each: float) -> int:
        """How many workers with these CPUs and GPUs each fit on it."""
        by_cpus = self.cpus // cpus_each
        if not gpus_each:
            return by_cpus
        # A part of a GPU is of one GPU; ten times 0.1 fill it.
        by_gpus = int(self.gpus / gpus_each) if gpus_each >= 1 else int(self.gpus) * int(1 / gpus_each + 1e-9)
        return min(by_cpus, by_gpus)


@dataclass(frozen=True)
class Resources:
    """What each trial gets, and how many trials run at once."""

    num_workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    concurrent: int

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker else "cpu"

    def __str__(self) -> str:
        gpus = f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        workers = f"{self.num_workers} worker(s) each with {self.cpus_per_worker} CPU{gpus}"
        return f"{self.concurrent} trials at once, {workers}"


def totals(machines: list[Machine]) -> Machine:
    """The CPUs and GPUs of all machines together."""
    return Machine(sum(machine.cpus for machine in machines), sum(machine.gpus for machine in machines))


def what_ray_has(machines: list[Machine]) -> str:
    cpus, gpus = totals(machines)
    return f"Ray has {cpus} CPU(s), {gpus:g} GPU(s)"


def share_out(machines: list[Machine], trials: int, num_workers: int, gpus_per_trial: float | None) -> Resources:
    """Divide the machines' CPUs and GPUs among trials; ConfigError names what is missing.

    With GPUs each worker gets one, unless `gpus_per_trial` says otherwise; without, as many trials run at once as there
    are CPUs. A worker runs on one machine, with as many CPUs as leave room for all trials that run at once.
    """
    gpus = totals(machines).gpus
    if gpus_per_trial is None:
        gpus_per_trial = float(num_workers) if gpus else 0.0
    gpus_per_worker = gpus_per_trial / num_workers
    if gpus_per_trial > gpus:
        raise ConfigError(
            f"{gpus_per_trial:g} GPU(s) for a trial's {num_workers} worker(s) were asked for, Ray has {gpus:g}; "
            "ask for fewer workers or --gpus-per-trial (0 trains on CPUs)"
        )
    if gpus_per_worker > 1 and not gpus_per_worker.is_integer():
        raise ConfigError(
            f"--gpus-per-trial {gpus_per_trial:g} over {num_workers} workers is {gpus_per_worker:g} each, and Ray "
            "does not divide GPUs so; ask for a multiple of the workers"
        )
    if num_workers > 1 and 0 < gpus_per_worker < 1:
        raise ConfigError(
            f"--gpus-per-trial {gpus_per_trial:g} over {num_workers} workers is {gpus_per_worker:g} each, and workers "
            f"of one trial cannot share a GPU (NCCL); ask for --gpus-per-trial {num_workers} or --workers-per-trial 1"
        )

    def places(cpus_each: int) -> int:
        return sum(machine.workers(cpus_each, gpus_per_worker) for machine in machines)

    if places(1) < num_workers:
        each = f" with {gpus_per_worker:g} GPU(s) each" if gpus_per_worker else ""
        raise ConfigError(
            f"--workers-per-trial {num_workers}{each} was asked for; {what_ray_has(machines)}, room on its "
            f"machines for {places(1)}; ask for fewer"
        )
    concurrent = max(1, min(places(1) // num_workers, trials))
    most = max(machine.cpus for machine in machines)
    cpus_per_worker = next(each for each in range(most, 0, -1) if places(each) >= concurrent * num_workers)
    return Resources(num_workers, cpus_per_worker, gpus_per_worker, concurrent)


BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml").expanduser()


def autoscaled_machines() -> list[Machine] | None:
    """The machines that the autoscaler may start.

    None where this is not the head of such a cluster, or where its machines are named instead of rented.
    """
    config = _cluster_config()
    if config is None or _machines_are_named(config):
        return None
    nodes = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    limit = config.get("max_workers", 2)  # Ray's own default
    found = []
    for kind in nodes:
        machine = Machine(int(kind["resources"].get("CPU", 0)), float(kind["resources"].get("GPU", 0)))
        found += [machine] * min(kind.get("max_workers", limit), limit)
    return found


def named_machines() -> int | None:
    """How many machines `cluster.local.yaml` names, the head too; None where this is not the head of such a cluster."""
    config = _cluster_config()
    if config is None or not _machines_are_named(config):
        return None
    return 1 + len(config["provider"]["worker_ips"])


def _cluster_config() -> dict | None:
    return yaml.safe_load(BOOTSTRAP_CONFIG.read_text(encoding="utf-8")) if BOOTSTRAP_CONFIG.exists() else None


def _machines_are_named(config: dict) -> bool:
    return config["provider"]["type"] == "local"
