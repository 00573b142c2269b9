"""An LSTM that computes in the precision of its weights on a GPU."""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """torch's LSTM, without autocast on a GPU.

    There torch 2.15 casts cuDNN's LSTM to float16 whatever autocast's dtype is. Most of its gradients are below the
    normal range of that type, and nothing here scales the loss. Takes a sequence only, no initial state.

    A copy's weights are in one block again, as cuDNN wants them; those of torch's own are packed in every call. torch
    makes no block of bfloat16 weights, so on a GPU they stay float32 (`models.inference.Sampler`).
    """

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.flatten_parameters()

    def forward(self, sequence: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if not sequence.is_cuda:
            return super().forward(sequence)
        with torch.autocast("cuda", enabled=False):
            output, state = super().forward(sequence.to(self.weight_ih_l0.dtype))
        return output.to(sequence.dtype), state
