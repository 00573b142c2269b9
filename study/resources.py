"""How the machines' CPUs and GPUs are divided among trials."""

from dataclasses import dataclass

from study.config import ConfigError


@dataclass(frozen=True)
class Resources:
    """What a trial gets, and how many trials run at once."""

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


def share_out(cpus: int, gpus: float, trials: int, num_workers: int, gpus_per_trial: float | None) -> Resources:
    """Divide the machines' CPUs and GPUs among trials; ConfigError says at once what is missing.

    With GPUs a trial gets one a worker unless told otherwise; without, as many trials run at once as there are CPUs.
    """
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
    if num_workers > cpus:
        raise ConfigError(f"--workers-per-trial {num_workers} was asked for, Ray has {cpus} CPU(s); ask for fewer")
    slots = cpus // num_workers
    if gpus_per_trial:
        slots = min(slots, int(gpus / gpus_per_trial + 1e-9))  # ten times 0.1 GPU fill one
    concurrent = max(1, min(slots, trials))
    return Resources(num_workers, max(1, cpus // (concurrent * num_workers)), gpus_per_worker, concurrent)
