"""Passes the reports of Ray Train's workers on to Tune, from one thread.

Ray's own `TuneReportCallback` lets two threads of a trial's process report: the one that runs the trial, and the main
one, which takes the workers' reports out of a queue between its waits for the first. Where the last report of a worker
comes just before the end of `fit`, both put into a queue that holds one item, which only the main thread empties: the
trial, and the study with it, waits for ever (Ray 2.60, `ray/train/_internal/session.py`, `_get_result_from_queues`).
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from ray import tune
from ray.train import UserCallback
from ray.util.queue import Queue

END = None


def new_reports() -> Queue:
    """A queue of reports, which ends with the trial's process."""
    return Queue(actor_options={"num_cpus": 0})


class Forward(UserCallback):
    """Puts each report of a Ray Train run's first worker into a queue."""

    def __init__(self, reports: Queue):
        self.reports = reports

    def after_report(self, run_context, metrics: list[dict], checkpoint) -> None:
        self.reports.put(metrics[0])


def report_until_end(run: Callable[[], dict], reports: Queue) -> dict:
    """Call `run` in a thread and tell Tune what comes into `reports` meanwhile; returns or raises as `run` does.

    For the function that Tune runs.
    """
    ended: Future[dict] = Future()

    def run_and_end() -> None:
        try:
            ended.set_result(run())
        except BaseException as error:
            ended.set_exception(error)
        finally:
            reports.put(END)

    Thread(target=run_and_end, daemon=True).start()  # Tune may end this process at any time
    while (report := reports.get()) is not END:
        tune.report(report)
    return ended.result()
