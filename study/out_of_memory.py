"""A training that runs out of a GPU's memory goes on once with the batch in halves."""

from collections.abc import Callable
from pathlib import Path

import torch

from study.checkpoint import write_atomically
from study.parallel import from_first_worker, num_workers
from study.step_backend import free_memory
from study.train_gan import Diverged

NOTE = "halve-batches"  # an empty file in the training's folder, for whoever goes on with it


def within_memory(folder: Path, train: Callable[[int], dict]) -> dict:
    """`train(micro_batches)` and the column micro_batches: 1, or 2 where the whole batch did not fit.

    `train` continues from the checkpoints in `folder`. With several workers, of which one only may know, the error is
    the launcher's, which starts all of them again. Raises Diverged where halves do not fit either.
    """
    note = folder / NOTE
    for pieces in from_first_worker(lambda: (2,) if note.exists() else (1, 2)):
        try:
            return {**train(pieces), "micro_batches": pieces}
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
            write_atomically(note, b"")
            if num_workers() > 1:
                raise
        finally:
            free_memory()
    raise Diverged(f"out of memory, with half of a batch at a time, too: {reason}")
