"""Data parallelism over the workers of one trial.

DDP is not used: its documentation excludes `torch.autograd.grad`, which the gradient penalty needs. Instead every
worker draws the same global batch and the same random numbers and takes its share of the rows; gradients are averaged
after `backward`. With one worker, without a process group, nothing here changes anything.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.distributed as dist

from study.storage.checkpoint import newest_checkpoint, read_checkpoint


def num_workers() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first_worker() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def share(global_batch: torch.Tensor) -> torch.Tensor:
    """This worker's rows of a (B, ...) tensor that is the same on all workers; their number must divide B."""
    if num_workers() == 1:
        return global_batch
    assert len(global_batch) % num_workers() == 0, "the global batch must divide evenly over the workers"
    return global_batch.chunk(num_workers())[dist.get_rank()]


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each `.grad` by its mean over the workers, in one all-reduce."""
    if num_workers() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(gradients)
    dist.all_reduce(flat)
    flat /= num_workers()
    for gradient, mean in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
        gradient.copy_(mean)


def mean_over_workers(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the workers."""
    if num_workers() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / num_workers()


def from_first_worker(compute):
    """Call `compute()` on the first worker only and return its (picklable) result on all of them."""
    result = [compute() if is_first_worker() else None]
    if num_workers() > 1:
        dist.broadcast_object_list(result, src=0)
    return result[0]


def from_all_workers(value) -> list:
    """The (picklable) value of each worker, in their order, on all of them."""
    values = [value] * num_workers()
    if num_workers() > 1:
        dist.all_gather_object(values, value)
    return values


def load_checkpoint(folder: Path, device: torch.device | str) -> dict | None:
    """The newest undamaged checkpoint of `folder`, the same on every worker; None if there is none."""
    path = from_first_worker(lambda: newest_checkpoint(folder))
    return read_checkpoint(path, device) if path else None
