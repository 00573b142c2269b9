"""One task from start to row: load the data, run the trial, write its results. No Ray here."""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial

import torch

from data_utils.dataset import Dataset, Side, load_dataset
from results.tables.schema import REPEATED
from study.diagnosis.sets import Condition, corrupted_tests, external_test
from study.diagnosis.train import CLASSIFIER_FILE
from study.errors import Diverged, Unheard, Withdrawn
from study.storage.faults import storage_fault
from study.training.memory import keep_freed_memory
from study.training.withdrawal import leave_if_withdrawn
from study.training.workers import from_first_worker, is_first_worker
from study.trial.classifiers import forget_weaker_classifiers, keep_classifier
from study.trial.provenance import machine_columns, now
from study.trial.record import Task
from study.trial.run import run_trial

CANNOT_GO_ON = (torch.AcceleratorError, Unheard, Withdrawn)


def execute(task: Task, report: Callable[[dict], None], device: torch.device) -> dict:
    """Run the task and write its row, history and predictions; returns {"status", "reason", ...result columns}.

    `report` gets each history entry. A training that diverges, and any other error of the trial, ends in a row with
    status "failed" and the reason; the study goes on. An error of the disk or of the GPU, `Unheard` from `report`, and
    `Withdrawn` are raised: the trial stays unfinished, with its checkpoints and no row. `Withdrawn` is raised, too,
    where the trial has its row by then: it was stopped, and its slot had no other to be withdrawn for.
    """
    torch.set_num_threads(task.num_threads)
    keep_freed_memory()
    entries: dict[tuple, dict] = {}

    def report_and_keep(entry: dict) -> None:
        entries[entry["stage"], entry["epoch"]] = entry
        if is_first_worker():
            task.write_history(list(entries.values()))
        report(entry)

    result = {"started_at": now(), **machine_columns(device)}
    if task.proposed_at:
        result["startup_seconds"] = time.time() - task.proposed_at
    if is_first_worker():
        task.note_start(result)
    try:
        dataset = load_dataset(task.prepared, task.config.image_size, device)
        tests = partial(more_tests, task, dataset)
        result |= run_trial(task.config, dataset, report_and_keep, task.gans, task.checkpoints, tests)
        leave_if_withdrawn(device)
        status, reason = "completed", None
    except Diverged as failure:
        status, reason = "failed", str(failure)
    except Exception as failure:
        # Other workers may be waiting for this one, which only the launcher can stop; and after an error of the GPU
        # itself nothing of this process can use it any more.
        if task.num_workers > 1 or storage_fault(failure) or isinstance(failure, CANNOT_GO_ON):
            raise
        traceback.print_exc()
        status, reason = "failed", f"{type(failure).__name__}: {failure}"
    if from_first_worker(task.read_row):
        raise Withdrawn
    predictions = result.pop("predictions", [])
    if is_first_worker():
        if predictions:
            task.write_predictions(predictions)
        # What a confirmation repeats is kept already.
        keeps = status == "completed" and task.columns.get("phase") not in REPEATED
        if keeps:
            keep_classifier(task.study, task.trial_id, task.checkpoints / CLASSIFIER_FILE)
        task.write_row(status, reason, result)
        if keeps:
            forget_weaker_classifiers(task.study)
        shutil.rmtree(task.checkpoints, ignore_errors=True)
    return {"status": status, "reason": reason, **result}


def more_tests(task: Task, dataset: Dataset) -> Iterator[tuple[Condition, Side]]:
    """The task's test sets besides the data set's own, each made when it is its turn."""
    if task.corrupted_tests:
        yield from corrupted_tests(dataset.side("test"))
    if task.external:
        yield from external_test(load_dataset(task.external, task.config.image_size, dataset.images.device))
