"""Reports reach Tune in order, and a trial ends however closely its last report is followed by its end."""

from queue import Queue

import pytest
import ray
from ray import tune

from study.cluster import reports as tune_reports
from study.cluster.connect import connect
from study.cluster.reports import Forward, new_reports, report_until_end


@pytest.fixture
def heard(monkeypatch):
    """What Tune has been told."""
    heard = []
    monkeypatch.setattr(tune_reports.tune, "report", heard.append)
    return heard


def test_reports_come_in_order_before_the_end(heard):
    reports = Queue()

    def run() -> dict:
        for epoch in range(5):
            Forward(reports).after_report(None, [{"epoch": epoch}, {"epoch": "the other worker's"}], None)
        return {"epoch": "end"}

    assert report_until_end(run, reports) == {"epoch": "end"}
    assert heard == [{"epoch": epoch} for epoch in range(5)]


def test_an_error_of_the_run_is_raised_after_its_reports(heard):
    reports = Queue()

    def run() -> dict:
        reports.put({"epoch": 1})
        raise ValueError("worker lost")

    with pytest.raises(ValueError, match="worker lost"):
        report_until_end(run, reports)
    assert heard == [{"epoch": 1}]


class Heard(tune.Callback):
    def __init__(self):
        self.epochs: dict[str, list] = {}

    def on_trial_result(self, iteration, trials, trial, result: dict, **info) -> None:
        self.epochs.setdefault(trial.trial_id, []).append(result["epoch"])


@pytest.mark.timeout(180)
def test_a_trial_that_ends_with_its_last_report_ends(tmp_path):
    """With Ray's own callback the first of these trials never ended."""

    def ends_at_once(settings: dict) -> None:
        reports = new_reports()

        @ray.remote(num_cpus=0)
        def fit() -> dict:
            for epoch in range(5):
                reports.put({"epoch": epoch})
            return {"epoch": "end"}

        tune.report(report_until_end(lambda: ray.get(fit.remote()), reports))

    connect(None)
    try:
        heard = Heard()
        tune.Tuner(
            tune.with_resources(ends_at_once, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=4),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[heard]),
        ).fit()
    finally:
        ray.shutdown()
    assert list(heard.epochs.values()) == [[0, 1, 2, 3, 4, "end"]] * 4
