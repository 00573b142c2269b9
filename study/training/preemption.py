"""The notice that a spot machine will be taken away soon, on AWS two minutes ahead.

Source: Amazon EC2 User Guide, "Spot Instance interruption notices": the instance's metadata service answers 404 at
`spot/instance-action` until an interruption is planned, and asks for a session token (IMDSv2).
"""

import os
import threading
import time
import urllib.request
from functools import cache
from urllib.error import HTTPError, URLError

import torch

from study.training.workers import mean_over_workers

METADATA_VARIABLE = "DFU_PREEMPTION_URL"  # address of the metadata service; unset on machines that are not spot
POLL_S = 5
ANSWER_S = 2


def notice() -> bool:
    """Whether this machine will be taken away soon; False where `DFU_PREEMPTION_URL` is not set. Never waits."""
    url = os.environ.get(METADATA_VARIABLE)
    return url is not None and watch(url).is_set()


def any_notice(device: torch.device) -> bool:
    """Whether any of the trial's workers has its notice; all workers must call this together."""
    return mean_over_workers(torch.tensor([float(notice())], device=device)).item() > 0


@cache
def watch(url: str) -> threading.Event:
    """An event that is set once the service at `url` announces an interruption; a background thread keeps asking."""
    noticed = threading.Event()

    def poll() -> None:
        while not is_announced(url):
            time.sleep(POLL_S)
        noticed.set()

    threading.Thread(target=poll, daemon=True, name="preemption notice").start()
    return noticed


def is_announced(url: str) -> bool:
    """Ask the metadata service once; False if it does not answer."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    try:
        token = fetch(urllib.request.Request(f"{url}/latest/api/token", method="PUT", headers=lifetime))
        headers = {"X-aws-ec2-metadata-token": token}
        fetch(urllib.request.Request(f"{url}/latest/meta-data/spot/instance-action", headers=headers))
    except (HTTPError, URLError, TimeoutError, ConnectionError):
        return False
    return True


def fetch(request: urllib.request.Request) -> str:
    # The service is on the machine's own link, behind no proxy.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=ANSWER_S) as answer:
        return answer.read().decode()
