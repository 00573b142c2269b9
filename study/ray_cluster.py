"""Joining a Ray cluster, or starting Ray on this machine."""

import logging
import os
import socket
import time

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # a trial is four processes; below this Ray warns of them
}

import ray

from study.autoscaler import autoscaled_resources
from study.config import ConfigError

logging.getLogger("ray").setLevel(logging.ERROR)  # its notes on tokens and defaults are not the user's concern
WORKER_START_S = {"fixed": 300, "scaling": 3600}  # a machine under load; a new machine being set up


def connect(address: str | None) -> tuple[int, float]:
    """Join the cluster at `address`, or the one this head belongs to, or start Ray here; returns its CPUs and GPUs.

    Of a cluster that scales from zero, the CPUs and GPUs that it can grow to. ConfigError when nobody answers, or
    when the dashboard does not: without it Ray never frees the workers of a stopped trial.
    """
    growing_to = autoscaled_resources()
    address = address or os.environ.get("RAY_ADDRESS") or ("auto" if growing_to else None)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(WORKER_START_S["scaling" if growing_to else "fixed"])
    if address:
        refuse_silent_address(address)
    else:
        pin_local_address()
    try:
        context = ray.init(
            address or "local",
            include_dashboard=None if address else True,
            log_to_driver=False,
            configure_logging=False,
        )
    except Exception as error:  # Ray raises a bare one where its dashboard takes too long to start
        where = f"no Ray cluster could be reached at {address}" if address else "Ray could not be started here"
        raise ConfigError(f"{where}; if the machine is busy, try again later: {str(error).strip()}") from None
    if not dashboard_answers(context):
        ray.shutdown()
        raise ConfigError(
            "Ray's dashboard does not answer, and without it stopped trials would hold their CPUs for ever; "
            'install ray[default] on the head and start it with --include-dashboard=true'
        )
    if growing_to:
        return growing_to
    resources = ray.cluster_resources()
    return int(resources.get("CPU", 0)), resources.get("GPU", 0.0)


def pin_local_address() -> None:
    """Choose the port of the Ray that is about to start, and tell all its processes.

    Ray Train's cleaner looks Ray up by address when it frees the workers of a stopped trial; with another Ray on the
    machine it would ask the wrong one, and the study would wait for ever.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    os.environ["RAY_ADDRESS"] = f"{ray.util.get_node_ip_address()}:{port}"


def refuse_silent_address(address: str, timeout: float = 10.0) -> None:
    """ConfigError unless something accepts connections at host:port; Ray itself would try for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return  # "auto": Ray knows its own address
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except (OSError, ValueError) as error:
        reason = f"no Ray cluster answers at {address} ({error}); is it up? `ray status` tells"
        raise ConfigError(reason) from None


def dashboard_answers(context, timeout: float = 60.0) -> bool:
    """Whether something accepts connections at the dashboard's address."""
    url = context.address_info.get("webui_url")
    deadline = time.monotonic() + timeout
    while url and time.monotonic() < deadline:
        try:
            host, _, port = url.rpartition(":")
            socket.create_connection((host.removeprefix("http://"), int(port)), 2).close()
            return True
        except OSError:
            time.sleep(0.5)
    return False
