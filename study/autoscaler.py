"""What a cluster made by `ray up` has or can grow to, read from the file that it leaves on its head."""

from pathlib import Path

import yaml

from study.resources import Machine

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml").expanduser()


def autoscaled_machines() -> list[Machine] | None:
    """All workers that the autoscaler may start.

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
