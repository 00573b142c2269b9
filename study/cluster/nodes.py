"""Runs a function on every node of the cluster that this process has joined, or on one with a GPU."""

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.errors import ConfigError

ANSWER_S = 180.0  # a node imports torch first, slowly where it is busy; a hung network file system never answers


def ask_nodes(function: Callable, *arguments: Any) -> dict[str, Any]:
    """What `function(*arguments)` returns on each living node, by the node's address.

    ConfigError names the nodes that do not answer, or on which the function fails.
    """
    ask = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = {}
    for node in living_nodes():
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = node["NodeManagerAddress"]
        name = f"{name} ({node['NodeID'][:6]})" if name in asked else name  # several on one machine
        asked[name] = ask.options(scheduling_strategy=pinned).remote(*arguments)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    answers, silent = {}, []
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=0)
        except RayError as error:
            silent.append(f"{name} ({last_line(error)})")
    if silent:
        raise ConfigError(
            f"no answer within {ANSWER_S:.0f} s from {', '.join(silent)}; see `ray status`, and give every node the "
            "same code, packages and storage"
        )
    return answers


def ask_a_gpu(function: Callable, *arguments: Any) -> Any:
    """What `function(*arguments)` returns on a node with a GPU, waited for where the cluster has yet to start one.

    ConfigError where it fails.
    """
    try:
        return ray.get(ray.remote(num_cpus=0, num_gpus=1)(function).remote(*arguments))
    except RayError as error:
        raise ConfigError(
            f"{function.__name__} failed on a GPU: {last_line(error)}; `python study/doctor.py` says what is wrong, "
            "and with --gpus-per-trial 1 nothing is measured"
        ) from None


def last_line(error: RayError) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def living_nodes() -> list[dict]:
    return [node for node in ray.nodes() if node["Alive"]]


def what_is_free() -> str:
    """`1 of 8 CPUs, 0 of 2 GPUs`"""
    free, total = ray.available_resources(), ray.cluster_resources()
    return ", ".join(f"{free.get(name, 0):g} of {total[name]:g} {name}s" for name in ("CPU", "GPU") if name in total)


def session_name() -> str:
    """The name of this Ray in the command lines of its processes."""
    return ray.get_runtime_context().get_session_name()
