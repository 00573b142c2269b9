"""Memory that a GAN's training takes, counted from shapes: nothing is computed, so any machine can do it."""

from collections.abc import Callable

import torch
from torch import Tensor

from study.config import GanConfig
from study.gan.step import Batch, GanTraining, build_training

META = torch.device("meta")
COPIES = 4  # of each trained weight: the weight, its gradient, Adam's two averages


def gan_bytes(config: GanConfig) -> int:
    """Bytes in float32: weights, optimisers, and the tensors that the larger step keeps for its backward pass.

    Libraries' working memory and the allocator's gaps are not counted. In bfloat16 the kept tensors take about half.
    """
    training = build_training(config.model_copy(update={"precision": "float32", "pretrained": False}), META)
    batch = shapes_of_a_batch(config)
    size = (config.gan_batch_size, 3, config.image_size, config.image_size)
    fake = torch.empty(size, device=META)
    critic = kept_bytes(lambda: training.critic_objective(batch.real, fake, batch.labels, batch.epsilon))
    generator = kept_bytes(lambda: training.generator(batch.z, batch.labels))
    through_critic = kept_bytes(lambda: training.critic(fake.requires_grad_(), batch.labels))
    fakes = config.critic_steps * fake.nbytes
    return weights_bytes(training) + fakes + max(critic, generator + through_critic)


def largest_batch(config: GanConfig, available: int) -> int:
    """The largest `gan_batch_size` whose training fits into `available` bytes; 0 where the weights alone do not."""
    half, whole = (gan_bytes(config.model_copy(update={"gan_batch_size": size})) for size in (128, 256))
    an_image = (whole - half) / 128  # everything but the weights grows with the batch
    return max(0, int((available - (whole - 256 * an_image)) / an_image))


def weights_bytes(training: GanTraining) -> int:
    trained = [*training.generator.parameters(), *training.critic.parameters()]
    return COPIES * sum(p.nbytes for p in trained) + sum(t.nbytes for t in training.ema.state_dict().values())


def shapes_of_a_batch(config: GanConfig) -> Batch:
    batch = config.gan_batch_size
    return Batch(
        real=torch.empty(batch, 3, config.image_size, config.image_size, device=META),
        labels=torch.empty(batch, dtype=torch.long, device=META),
        z=torch.empty(batch, config.z_dim, device=META),
        epsilon=torch.empty(batch, 1, 1, 1, device=META),
    )


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes of all tensors that `run` keeps for backward passes, without parameters; each storage counts once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor  # holding it keeps its address from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
