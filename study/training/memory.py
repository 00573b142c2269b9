"""Memory of a trial: halve a batch that does not fit, keep freed memory, measure the peak, count kept tensors."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from study.errors import Diverged
from study.storage.atomic import write_atomically
from study.training.workers import from_first_worker, num_workers

NOTE = "halve-batches"  # empty file in a training's folder: whoever continues the training halves its batches
HALVES_FAILED = "halved-batches-failed"  # file of several workers' training, with the error: halves do not fit either
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h
LIBC = ctypes.CDLL(None)
IS_GLIBC = hasattr(LIBC, "gnu_get_libc_version")
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = b"5"  # proc_pid_clear_refs(5): the peak resident size becomes the current one


def within_memory(folder: Path, train: Callable[[int], dict]) -> dict:
    """`train(micro_batches)` and the column micro_batches: 1, or 2 where the whole batch did not fit into memory.

    `train` continues from the checkpoints in `folder`. With several workers the error is raised: perhaps only one of
    them has met it, and the launcher starts all of them again. Raises Diverged where half a batch does not fit either.
    """
    note, failed = folder / NOTE, folder / HALVES_FAILED
    reason = from_first_worker(lambda: failed.read_text() if failed.exists() else None)
    for pieces in () if reason else from_first_worker(lambda: (2,) if note.exists() else (1, 2)):
        try:
            return {**train(pieces), "micro_batches": pieces}
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
            write_atomically(note, b"")
            if num_workers() > 1:
                if pieces == 2:
                    write_atomically(failed, reason.encode())
                raise
        finally:
            free_memory()
    failed.unlink(missing_ok=True)  # by now all have read it; another time there may be more memory
    raise Diverged(f"out of memory even with half of a batch at a time: {reason}")


def free_memory() -> None:
    """Return the GPU memory of trainings that have ended.

    A training in CUDA graphs refers to itself, so that only the garbage collector frees it.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory() -> bool:
    """Keep memory that CPU tensors have freed for the next ones; returns whether that could be set (glibc only).

    By default glibc maps a large tensor anew each time, and the system clears each of its pages at the first touch.
    This takes 10 to 20 % of the processor time of a small training. Measured in an epoch of the `search` preset's
    classifier: 197,664 page faults before, none after. In any but the main thread it needs
    MALLOC_ARENA_MAX=1 in the environment that the process was started with.
    """
    return IS_GLIBC and bool(LIBC.mallopt(M_MMAP_MAX, 0) and LIBC.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak for `peak_memory`, so that earlier trials of this process do not count."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if IS_GLIBC:
        LIBC.malloc_trim(0)  # what `keep_freed_memory` has kept would count as used
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_bytes(RESET_PEAK)


def peak_memory(device: torch.device) -> int | None:
    """Peak since `reset_peak_memory` in bytes: of the device's memory on a GPU, else of the process's resident size.

    None on systems that do not tell it. (`getrusage` will not do: its maximum can include the parent process's.)
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes of all tensors that `run` keeps for backward passes, without parameters; each storage counts once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor  # holding it keeps its address from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
