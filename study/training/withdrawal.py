"""Whether the launcher has stopped the trial at work: its worker leaves it at the end of an epoch."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.errors import Withdrawn
from study.training.workers import mean_over_workers

NEVER = threading.Event()
heeded = [NEVER]  # the last one is that of the trial at work


@contextmanager
def heeding(event: threading.Event) -> Iterator[None]:
    """Within it `leave_if_withdrawn` looks at this event."""
    heeded.append(event)
    try:
        yield
    finally:
        heeded.pop()


def leave_if_withdrawn(device: torch.device) -> None:
    """Raise Withdrawn where any of the trial's workers has been told to leave; all must call this together."""
    if mean_over_workers(torch.tensor([float(heeded[-1].is_set())], device=device)).item() > 0:
        raise Withdrawn("the trial was stopped")
