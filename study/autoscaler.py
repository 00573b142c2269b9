"""What a cluster made by `ray up` can grow to, read from the file that it leaves on its head."""

from pathlib import Path

import yaml

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml").expanduser()


def autoscaled_resources() -> tuple[int, float] | None:
    """CPUs and GPUs of all workers that the autoscaler may start; None where this is not the head of such a cluster."""
    if not BOOTSTRAP_CONFIG.exists():
        return None
    config = yaml.safe_load(BOOTSTRAP_CONFIG.read_text())
    nodes = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    limit = config.get("max_workers", 2)  # Ray's own default
    totals = [
        sum(min(kind.get("max_workers", limit), limit) * kind["resources"].get(resource, 0) for kind in nodes)
        for resource in ("CPU", "GPU")
    ]
    return int(totals[0]), float(totals[1])
