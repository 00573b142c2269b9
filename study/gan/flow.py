"""One epoch of flow matching (Lipman et al. 2023): a generator that learns a velocity, without a critic."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_utils.dataset import Side
from models.systems.flow import STEPS, flow_matching_loss, logit_normal
from study.config import GanConfig
from study.gan.training import Batch, Training, draw_batch
from study.training.memory import kept_bytes
from study.training.precision import autocast
from study.training.seeds import make_generator
from study.training.workers import average_gradients, mean_over_workers


@dataclass(kw_only=True)
class FlowTraining(Training):
    """Regression of the velocity between noise and real images."""

    def run_epoch(self, train: Side, epoch: int) -> dict[str, float]:
        """One pass over the real images; returns the epoch's mean `generator_loss`."""
        config, device = self.config, train.images.device
        draws = make_generator(device, config.seed, "gan", epoch)
        steps = self.steps_in_epoch(train)
        order = torch.randperm(len(train.labels), generator=draws, device=device)
        losses = []
        for step in range(steps):
            losses.append(self.step("generator", draw_batch(config, train, order, step, draws)))
            self.update_ema((epoch - 1) * steps + step + 1)
        return {"generator_loss": mean_over_workers(torch.stack(losses).mean()).item()}

    def step(self, network: str, batch: Batch) -> Tensor:
        """Of the generator, the only one: z is the batch's noise, and epsilon gives its times."""
        return self.generator_step(batch.real, batch.labels, batch.z, batch.epsilon)

    def generator_step(self, *inputs: Tensor) -> Tensor:
        """One update of the generator; returns the loss."""
        self.generator_optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for piece in zip(*(tensor.chunk(self.micro_batches) for tensor in inputs), strict=True):
            loss = self.generator_objective(*piece) * (len(piece[0]) / len(inputs[0]))
            loss.backward()
            total = total + loss.detach()
        average_gradients(self.generator.parameters())
        self.generator_optimiser.step()
        return total

    def generator_objective(self, real: Tensor, labels: Tensor, z: Tensor, epsilon: Tensor) -> Tensor:
        """The loss of a batch, float32."""
        with autocast(self.config, real.device):
            noise, t = z.view(real.shape), logit_normal(epsilon)
            return flow_matching_loss(self.generator.velocity, real, noise, t, labels).float()

    def reference_losses(self, batch: Batch) -> Iterator[Tensor]:
        """Its objective has no gradient but autograd's."""
        inputs = (batch.real, batch.labels, batch.z, batch.epsilon)
        for piece in zip(*(tensor.chunk(self.micro_batches) for tensor in inputs), strict=True):
            yield self.generator_objective(*piece) * (len(piece[0]) / len(batch.real))

    def step_bytes(self, batch: Batch) -> int:
        """Of the velocity's forward pass."""
        return kept_bytes(lambda: list(self.reference_losses(batch)))

    @staticmethod
    def forward_passes(config: GanConfig) -> tuple[float, float]:
        """Forward and backward of one evaluation, of which the generator's forward pass has two a step."""
        return 3 / (2 * STEPS), 0.0
