"""The WGAN-GP iteration as tutorials write it: the rival of `benchmarks/gan_step.py`.

float32, NCHW, real and synthetic images through the critic apart, torch's own LeakyReLU, the gradient penalty by
`autograd.grad(create_graph=True)`, the generator's graph kept in the critic step, the critic not frozen in the
generator step. Networks, weights, random numbers and the order of steps are those of `study.gan.step`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from models.critic import SLOPE, Critic
from study.config import GanConfig
from study.gan.step import Batch, GanTraining, build_training


class TutorialCritic(Critic):
    """The study's critic with torch's own LeakyReLU."""

    def score_map(self, images: Tensor, labels: Tensor) -> Tensor:
        for convolution in self.convolutions:
            images = F.leaky_relu(convolution(images), SLOPE)
        direction = self.score.weight + self.class_embedding(labels)
        return (images * direction[:, :, None, None]).sum(dim=1) + self.score.bias


class Tutorial(GanTraining):
    """The study's training with the steps of a tutorial."""

    def synthesise(self, batches: list[Batch]) -> Iterator[Tensor]:
        """Each batch's synthetic images when its step comes, with the generator's graph."""
        return (self.generator(batch.z, batch.labels) for batch in batches)

    def critic_step(self, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor) -> Tensor:
        """One update of the critic; returns (critic loss, wasserstein, penalty)."""
        real = real.contiguous()
        mixed = (epsilon * real + (1 - epsilon) * fake).detach().requires_grad_(True)
        scores = self.critic(mixed, labels)
        (gradient,) = torch.autograd.grad(
            scores, mixed, grad_outputs=torch.ones_like(scores), create_graph=True, retain_graph=True
        )
        penalty = ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
        wasserstein = self.critic(real, labels).mean() - self.critic(fake, labels).mean()
        loss = self.config.penalty_weight * penalty - wasserstein
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return torch.stack([loss, wasserstein, penalty]).detach()

    def generator_step(self, labels: Tensor, z: Tensor, real: Tensor, augmentation: None = None) -> Tensor:
        """One update of the generator; returns the loss."""
        loss = -self.critic(self.generator(z, labels), labels).mean()
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()
        return loss.detach()


def build_tutorial(config: GanConfig, device: torch.device) -> Tutorial:
    """The same starting weights as `study.gan.step.build_training`."""
    ours = build_training(config, device)
    critic = TutorialCritic(config.image_size, config.critic_width).to(device)
    critic.load_state_dict(ours.critic.state_dict())
    generator = ours.generator.to(memory_format=torch.contiguous_format)
    betas = (config.adam_beta1, config.adam_beta2)
    return Tutorial(
        config=config,
        generator=generator,
        critic=critic,
        ema=ours.ema.to(memory_format=torch.contiguous_format),
        generator_optimiser=torch.optim.Adam(generator.parameters(), lr=config.generator_lr, betas=betas),
        critic_optimiser=torch.optim.Adam(critic.parameters(), lr=config.critic_lr, betas=betas),
    )
