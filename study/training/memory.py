"""Memory of a trial: freed memory is kept, the peak is measured, and a batch that does not fit is halved once."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from study.errors import Diverged
from study.storage.checkpoint import write_atomically
from study.training.workers import from_first_worker, num_workers

NOTE = "halve-batches"  # an empty file in the training's folder, for whoever goes on with it
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = b"5"  # proc_pid_clear_refs(5): the peak resident size becomes the current one


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


def free_memory() -> None:
    """Give back what trainings that have ended held of a GPU.

    One that is compiled or in a CUDA graph refers to itself, so that only the collector ends it.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory() -> bool:
    """Keep memory that tensors on the CPU have freed for the next ones; returns whether it could be set (glibc only).

    glibc maps a large tensor anew each time, and the system clears every page of it at the first touch: 10 to 20 % of
    the processor time of a small training. Measured: 197,664 page faults in an epoch of the `search` preset's
    classifier before, none after.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peaks of earlier trials in this process; on a CPU only where Linux lets the process do so."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR_REFS.exists():
        CLEAR_REFS.write_bytes(RESET_PEAK)


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak since `reset_peak_memory` on a GPU, the process's peak resident size on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
