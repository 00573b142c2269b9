"""A generator prepared for sampling: batch norm folded into the layer before it, weights cast once."""

import copy
from itertools import pairwise

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from models.generator import Generator
from models.lstm import LSTM
from models.systems.fast import FastGenerator
from models.systems.flow import FlowGenerator
from models.systems.laplacian import LaplacianGenerator
from models.systems.principal import PrincipalGenerator
from models.systems.style import StyleGenerator


class Sampler(nn.Module):
    """A generator of any dtype with float32 inputs and outputs: forward(z (B, L), labels (B,)) -> (B, 3, S, S)."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.generator, self.dtype = generator.to(dtype, memory_format=torch.channels_last), dtype
        for module in self.generator.modules():
            if isinstance(module, LSTM) and module.weight_ih_l0.is_cuda:
                module.float()

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.generator(z.to(self.dtype), labels).float()


def for_inference(generator: nn.Module, dtype: torch.dtype = torch.float32) -> Sampler:
    """A frozen copy of a trained generator that makes the same images faster.

    In evaluation mode a batch norm is an affine map with constants, which is folded into the convolution or linear
    layer before it; in float32 the result differs by rounding only. In bfloat16 the weights are cast once, not at each
    call as by autocast.
    """
    folded = copy.deepcopy(generator).requires_grad_(False).eval()
    # These have no norms, and bfloat16 would round sums of pixels.
    if isinstance(folded, PrincipalGenerator | StyleGenerator | LaplacianGenerator):
        return Sampler(folded, torch.float32)
    if isinstance(folded, FlowGenerator):  # it has no batch norm, and adds up its pixels in float32 itself
        return Sampler(folded, dtype)
    fold_batch_norm(folded)
    if isinstance(folded, FastGenerator):
        return Sampler(folded, dtype)
    fold_first_norm(folded)
    for module in folded.decoder:
        if isinstance(module, nn.ReLU):
            module.inplace = True  # nothing else reads its input
    return Sampler(folded, dtype)


def fold_batch_norm(network: nn.Module) -> None:
    """Fold, in place, each batch norm of a network in evaluation mode into the convolution registered just before it.

    Of timm's norms the activation remains. This works only for networks that register modules in the order of their
    use, as the decoder and timm's EfficientNets do.
    """
    for parent in list(network.modules()):
        for (_, convolution), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                fold_pair(convolution, norm)
                setattr(parent, name, activation_of(norm))


def fold_pair(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    transposed = isinstance(convolution, nn.ConvTranspose2d)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, *statistics, transpose=transposed
    )


def activation_of(norm: nn.BatchNorm2d) -> nn.Module:
    return norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()


def fold_first_norm(generator: Generator) -> None:
    """Fold the decoder's first batch norm into the linear layer that makes the 8x8 map's channels."""
    norm = generator.decoder[0]
    linear = [module for part in (generator.tokens, generator.recurrence) for module in part.modules()
              if isinstance(module, nn.Linear)][-1]  # fmt: skip
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    tokens = linear.out_features // norm.num_features  # 64 where one layer makes all tokens, else 1
    scale, shift = scale.repeat(tokens), shift.repeat(tokens)
    bias = torch.zeros_like(shift) if linear.bias is None else linear.bias
    linear.weight, linear.bias = (
        nn.Parameter(value, requires_grad=False) for value in (linear.weight * scale[:, None], bias * scale + shift)
    )
    generator.decoder[0] = nn.Identity()
