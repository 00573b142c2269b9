"""The WGAN-GP objective (Gulrajani et al. 2017, eq. 3), class-conditional: tensors in, tensors out.

`critic` is any callable (images (B, 3, S, S), labels (B,)) -> scores (B,) that scores each image by itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
InputGradient = Callable[[Tensor, Tensor], Tensor]


def critic_loss(
    critic: ScoreFunction,
    real: Tensor,
    fake: Tensor,
    labels: Tensor,
    penalty_weight: float,
    epsilon: Tensor | None,
    input_gradient: InputGradient | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scalars: the critic's loss and, detached, its two parts: the Wasserstein estimate and the gradient penalty.

    `fake` is detached here. `labels` are the classes of the real images and of the synthetic ones alike.
    `epsilon` (B, 1, 1, 1) in [0, 1] places the interpolates. The penalty is left out, and 0, where `epsilon` is None
    or the weight 0. `input_gradient`: see `gradient_penalty`.
    """
    fake = fake.detach()
    real_scores, fake_scores = critic(torch.cat([real, fake]), torch.cat([labels, labels])).chunk(2)
    wasserstein = real_scores.mean() - fake_scores.mean()
    penalty = torch.zeros_like(wasserstein)
    if penalty_weight and epsilon is not None:
        penalty = gradient_penalty(critic, real, fake, labels, epsilon, input_gradient)
    return penalty_weight * penalty - wasserstein, wasserstein.detach(), penalty.detach()


def generator_loss(critic: ScoreFunction, fake: Tensor, labels: Tensor) -> Tensor:
    """Minus the critic's mean score of the synthetic images: a scalar."""
    return -critic(fake, labels).mean()


def gradient_penalty(
    critic: ScoreFunction,
    real: Tensor,
    fake: Tensor,
    labels: Tensor,
    epsilon: Tensor,
    input_gradient: InputGradient | None = None,
) -> Tensor:
    """Mean of (|gradient| - 1)^2 at `epsilon * real + (1 - epsilon) * fake`: a scalar, differentiable.

    `input_gradient` (images, labels) -> gradients of the critic's scores; faster than autograd, with the same result
    (`models.critic.Critic.input_gradient`). Norm, square and mean are taken in float32 at least, also under autocast.
    """
    interpolates = (epsilon * real + (1 - epsilon) * fake).detach()
    if input_gradient:
        gradient = input_gradient(interpolates, labels)
    else:
        interpolates.requires_grad_()
        (gradient,) = torch.autograd.grad(critic(interpolates, labels).sum(), interpolates, create_graph=True)
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3))
    return (norm - 1).square().mean()
