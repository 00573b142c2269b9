"""Batch norm whose training statistics span all workers, on any backend of torch.distributed.

torch's SyncBatchNorm refuses CPU tensors; this one needs only an all-reduce, which gloo has too.
"""

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Make every batch norm within `module` (torch's BatchNorm2d, timm's BatchNormAct2d) span the workers, in place.

    In training mode, mean and variance are then taken over the batches of all workers of the default process group,
    and gradients flow back through them to every worker, so all workers must run the same forward and backward passes.
    Nothing changes with one worker, without a process group, or in evaluation mode. The state_dict keeps its keys.
    """
    for child in module.modules():
        child.__class__ = SYNCHRONISED.get(type(child), type(child))
    return module


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """See `synchronise_batch_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        return normalise(self, x) if spans_workers(self) else super().forward(x)


class SynchronisedBatchNormAct2d(BatchNormAct2d):
    """See `synchronise_batch_norm`; keeps timm's dropout and activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(normalise(self, x))) if spans_workers(self) else super().forward(x)


SYNCHRONISED = {nn.BatchNorm2d: SynchronisedBatchNorm2d, BatchNormAct2d: SynchronisedBatchNormAct2d}


def spans_workers(module: nn.Module) -> bool:
    return module.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm of x (B, C, H, W) over all workers, in float32 at least; updates the running statistics."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pixels = wide.new_full((1,), x.numel() / norm.num_features)
    # Two passes: the mean of squares minus the squared mean would lose digits.
    total, count = AllReduceSum.apply(torch.cat([wide.sum(dim=(0, 2, 3)), pixels])).split([norm.num_features, 1])
    mean = total / count
    centred = wide - mean[:, None, None]
    variance = AllReduceSum.apply(centred.square().sum(dim=(0, 2, 3))) / count
    update_running_statistics(norm, mean.detach(), (variance * count / (count - 1)).detach())
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return (centred * scale[:, None, None] + norm.bias[:, None, None]).to(x.dtype)


@torch.no_grad()
def update_running_statistics(norm: nn.BatchNorm2d, mean: Tensor, unbiased_variance: Tensor) -> None:
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_(unbiased_variance.to(norm.running_var.dtype), norm.momentum)


class AllReduceSum(torch.autograd.Function):
    """Sum over the workers. Its gradient is a sum too: every worker's loss depends on every worker's summand."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
