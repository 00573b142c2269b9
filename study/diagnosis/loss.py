"""The classifier's loss: cross-entropy of the logit, weighted by class or focal where classes are unequal."""

import torch
from torch import Tensor
from torch.nn import functional as F

FOCAL_GAMMA = 2.0  # the best of Lin et al. 2017, table 1b


def classifier_loss(logits: Tensor, labels: Tensor, balance: str = "none", counts: Tensor | None = None) -> Tensor:
    """Mean loss over logits (B,) and labels (B,) of 0 and 1.

    class_weights: an image of class c weighs n / (2 n_c), from the `counts` (n_0, n_1) of the training images, so that
    both classes weigh the same and an image 1 on average. focal: (1 - p_t)^gamma times the cross-entropy -log p_t,
    where p_t is the probability of the true class (Lin et al. 2017, eq. 4).
    """
    loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")  # -log p_t, (B,)
    if balance == "class_weights":
        loss = loss * (counts.sum() / (2 * counts))[labels]
    if balance == "focal":
        loss = loss * (-torch.expm1(-loss)) ** FOCAL_GAMMA
    return loss.mean()
