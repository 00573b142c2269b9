"""A worker of a slot: takes jobs from the mailbox, a trial's task each, until it is sent home.

The first of a trial's workers reports each Frechet distance of the task's GAN, and the task's end, to the mailbox:
`ray.train.report` would have Ray Train's controller ask each worker for news several times a second. What imports torch
is imported in functions: Tune's and Ray Train's own processes import this file too.
"""

import threading
from contextlib import suppress
from functools import partial

import ray
from ray.exceptions import RayError

from study.errors import Unheard, Withdrawn

MEASUREMENT = ("epoch", "frechet_distance", "num_real", "num_fake", "gan_key", "seconds")  # of a GAN, as reported


def work(settings: dict) -> None:
    """What Ray Train runs on each worker. Memory is freed between jobs."""
    import torch
    from ray.train.torch import get_device

    from study.training.memory import free_memory

    mailbox, number = settings["mailbox"], 0
    device = torch.device("cpu")
    if settings["device"] == "cuda":
        device = get_device()
        torch.cuda.set_device(device)
    while True:
        number, job = next_job(mailbox, number)
        if job is None:
            return
        with suppress(Withdrawn):
            work_at(ray.get(job[0]), number, mailbox, device)
        free_memory()


def next_job(mailbox, after: int) -> tuple[int, list | None]:
    """The newest job after number `after`, the same on every worker: after a fault one may hear of a later one."""
    from study.training.workers import from_all_workers

    while True:
        number, job = ray.get(mailbox.take.remote(after))
        numbers = from_all_workers(number)
        if min(numbers) == max(numbers):
            return number, job
        after = max(numbers) - 1


def work_at(task, number: int, mailbox, device) -> None:
    """One job: a task from start to row, unless it has its row, after a fault of the worker. Raises Withdrawn."""
    from study.training.withdrawal import heeding
    from study.training.workers import from_first_worker
    from study.trial.execute import execute

    with heeding(withdrawal(mailbox, number)):
        # All do the same: one of several machines may see the row later than another.
        result = from_first_worker(task.read_row) or execute(task, partial(report_measurement, mailbox, number), device)
        ended = {"trial_id": task.trial_id, **result}
        tell(mailbox, {"number": number, "epoch": result.get("gan_epoch") or 0, "ended": ended})


def withdrawal(mailbox, number: int) -> threading.Event:
    """An event that is set once the job is withdrawn."""
    event = threading.Event()

    def wait() -> None:
        with suppress(RayError):  # a mailbox that is gone withdraws nothing: the worker ends with its slot
            if ray.get(mailbox.is_withdrawn.remote(number)):
                event.set()

    threading.Thread(target=wait, daemon=True, name=f"withdrawal of job {number}").start()
    return event


def report_measurement(mailbox, number: int, entry: dict) -> None:
    """Send a GAN's measurement to the launcher; raises Unheard where it no longer receives reports."""
    if entry["stage"] == "gan":
        tell(mailbox, {"number": number} | {name: entry[name] for name in MEASUREMENT})


def tell(mailbox, report: dict) -> None:
    from study.training.workers import is_first_worker

    try:
        if is_first_worker():
            ray.get(mailbox.put.remote(report))
    except RayError as error:  # the head is lost, say, and this worker is still there
        raise Unheard(str(error)) from error
