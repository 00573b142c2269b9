"""From a proposal of a search or a confirmation to the task that workers get."""

from dataclasses import dataclass
from pathlib import Path

from data_utils.resplit import resplit
from study.cluster.resources import Resources
from study.search.proposer import Proposal
from study.trial.record import Task


@dataclass(frozen=True)
class TaskMaker:
    """Makes the tasks of one study. Every row gets `columns`, and then the columns of its proposal.

    A proposal whose columns name another `split_protocol` gets the same images under that split, and no test sets but
    that split's own.
    """

    study: Path
    prepared: Path
    columns: dict
    resources: Resources
    more_tests: bool = False  # corrupted test images, for trials of the whole training set
    external: Path | None = None

    def __call__(self, proposal: Proposal) -> Task:
        columns = self.columns | {"phase": proposal.phase} | proposal.columns
        prepared, own_split = self.prepared, columns["split_protocol"] == self.columns["split_protocol"]
        if not own_split:
            prepared, columns["data_fingerprint"] = resplit(self.prepared, columns["split_protocol"])
        return Task(
            study=self.study,
            prepared=prepared,
            trial_id=proposal.trial_id,
            config=proposal.config,
            num_workers=self.resources.num_workers,
            num_threads=self.resources.cpus_per_worker,
            columns=columns,
            corrupted_tests=self.more_tests and own_split and not proposal.config.training_part,
            external=self.external if own_split else None,
        )
