"""An LSTM whose precision on a GPU is its weights'."""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """torch's, without autocast on a GPU: there it would run in float16, also where bfloat16 is asked for.

    torch 2.15 casts cuDNN's LSTM to float16 whatever autocast's dtype is; most of its gradients lie below the normal
    range of that type, and nothing scales the loss. Takes (B, length, features) as `batch_first` says; no state.
    """

    def forward(self, sequence: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if not sequence.is_cuda:
            return super().forward(sequence)
        with torch.autocast("cuda", enabled=False):
            return super().forward(sequence.to(self.weight_ih_l0.dtype))
