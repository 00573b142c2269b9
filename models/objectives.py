"""What critic and generator minimise: adversarial objectives and penalties on the critic's gradient.

The loss of a critic is `objective.critic(real_scores, fake_scores) + penalty_weight * penalty`; scores are (B,), or
(B, K) of a critic with several heads, and fake i was made for the label of real i. `critic` is any callable
(images (B, 3, S, S), labels (B,)) -> scores. Tensors in, scalars out: no optimiser, device or state.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
InputGradient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """Two functions of (real scores, fake scores)."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    "wasserstein": Objective(  # Arjovsky et al. 2017, eq. 2 and 3
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
    ),
    "non_saturating": Objective(  # Goodfellow et al. 2014, section 3; scores are logits
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda real, fake: softplus(-fake).mean(),
    ),
    "relativistic": Objective(  # pairs: Jolicoeur-Martineau 2019; Huang et al. 2024 (R3GAN), eq. 2
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
    ),
    "hinge": Objective(  # Lim and Ye 2017
        lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
    ),
}

SHIFTABLE = ("wasserstein", "relativistic")  # objectives that the same number added to all scores does not change


def overfitting(real_scores: Tensor, fake_scores: Tensor, objective: str) -> Tensor:
    """r_t: mean sign of the scores of real images, 1 where the critic is sure of all (Karras et al. 2020b, eq. 1).

    Where scores have no zero, the sign is that of a real image's score less that of its synthetic one.
    """
    margin = real_scores - fake_scores if objective in SHIFTABLE else real_scores
    return margin.sign().mean()


def interpolate_penalty(gradient_at: InputGradient, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor):
    """Mean of (|gradient| - 1)^2 at `epsilon * real + (1 - epsilon) * fake` (Gulrajani et al. 2017, eq. 3)."""
    gradient = gradient_at((epsilon * real + (1 - epsilon) * fake).detach(), labels)
    return (torch.linalg.vector_norm(gradient, dim=(1, 2, 3)) - 1).square().mean()


def zero_centred_penalty(gradient_at: InputGradient, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor):
    """Mean of |gradient|^2 at real and at fake images: (R1 + R2) / 2 (Mescheder et al. 2018; R3GAN, eq. 3)."""
    gradient = gradient_at(torch.cat([real, fake]), torch.cat([labels, labels]))
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def real_penalty(gradient_at: InputGradient, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor):
    """Half the mean of |gradient|^2 at real images: R1 / 2 (Mescheder et al. 2018, eq. 9)."""
    return gradient_at(real, labels).square().sum(dim=(1, 2, 3)).mean() / 2


PENALTIES = {"interpolates": interpolate_penalty, "zero_centred": zero_centred_penalty, "real": real_penalty}


def critic_loss(
    critic: ScoreFunction,
    real: Tensor,
    fake: Tensor,
    labels: Tensor,
    penalty_weight: float,
    epsilon: Tensor | None,
    input_gradient: InputGradient | None = None,
    objective: str = "wasserstein",
    penalty: str = "interpolates",
) -> tuple[Tensor, Tensor, Tensor]:
    """Scalars: the critic's loss and, detached, the gap between the mean scores of real and fake, and the penalty.

    The gap is the Wasserstein estimate under that objective. `fake` is detached here. `epsilon`
    (B, 1, 1, 1) in [0, 1] places the interpolates; with None, or with weight 0, the penalty is left out and reported
    as 0. `input_gradient` (images, labels) -> gradients of the scores is a faster way to the same than autograd's
    (`models.critic.Critic.input_gradient`).
    """
    fake = fake.detach()
    real_scores, fake_scores = scores_of_both(critic, real, fake, labels)
    adversarial = OBJECTIVES[objective].critic(real_scores, fake_scores)
    amount = torch.zeros_like(adversarial)
    if penalty_weight and epsilon is not None:
        amount = PENALTIES[penalty](gradients(critic, input_gradient), real, fake, labels, epsilon)
    gap = real_scores.mean() - fake_scores.mean()
    return penalty_weight * amount + adversarial, gap.detach(), amount.detach()


def scores_of_both(critic: ScoreFunction, real: Tensor, fake: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of real and of synthetic images: in one batch, unless the critic needs them apart."""
    if getattr(critic, "scores_apart", False):
        return critic(real, labels), critic(fake, labels)
    return critic(torch.cat([real, fake]), torch.cat([labels, labels])).chunk(2)


def generator_loss(
    critic: ScoreFunction, fake: Tensor, labels: Tensor, real: Tensor | None = None, objective: str = "wasserstein"
) -> Tensor:
    """Loss of the generator: a scalar. Only the relativistic objective looks at the real images."""
    if objective != "relativistic":
        fake_scores = critic(fake, labels)
        return OBJECTIVES[objective].generator(fake_scores, fake_scores)
    with torch.no_grad():
        real_scores = critic(real, labels)
    return OBJECTIVES[objective].generator(real_scores, critic(fake, labels))


def gradients(critic: ScoreFunction, input_gradient: InputGradient | None) -> InputGradient:
    """(images, labels) -> the gradient of each score with respect to its image, in float32 at least, differentiable."""

    def by_autograd(images: Tensor, labels: Tensor) -> Tensor:
        images = images.detach().requires_grad_()
        return torch.autograd.grad(critic(images, labels).sum(), images, create_graph=True)[0]

    def in_float32(images: Tensor, labels: Tensor) -> Tensor:
        gradient = (input_gradient or by_autograd)(images, labels)
        return gradient.to(torch.promote_types(gradient.dtype, torch.float32))

    return in_float32
