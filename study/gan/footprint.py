"""Memory that a GAN's training takes, counted from shapes: nothing is computed, so any machine can do it."""

import torch

from study.config import GanConfig
from study.gan.step import build_training
from study.gan.training import Batch, Training

META = torch.device("meta")
COPIES = 4  # of each trained weight: the weight, its gradient, Adam's two averages


def gan_bytes(config: GanConfig) -> int:
    """Bytes in float32: weights, optimisers, and the tensors that the largest step keeps for its backward pass.

    Libraries' working memory and the allocator's gaps are not counted. In bfloat16 the kept tensors take about half.
    """
    training = build_training(config.model_copy(update={"precision": "float32", "pretrained": False}), META)
    return weights_bytes(training) + training.step_bytes(shapes_of_a_batch(config))


def bytes_and_largest_batch(config: GanConfig, available: int) -> tuple[int, int]:
    """`gan_bytes`, and the largest `gan_batch_size` whose training fits into `available` bytes; 0 where not even the
    weights do."""
    batch = config.gan_batch_size
    once, twice = (gan_bytes(config.model_copy(update={"gan_batch_size": size})) for size in (batch, 2 * batch))
    an_image = (twice - once) / batch  # everything but the weights grows with the batch
    return once, max(0, int(batch + (available - once) / an_image))


def weights_bytes(training: Training) -> int:
    trained = [p for network in training.networks.values() for p in network.parameters()]
    return COPIES * sum(p.nbytes for p in trained) + sum(t.nbytes for t in training.ema.state_dict().values())


def shapes_of_a_batch(config: GanConfig) -> Batch:
    batch = config.gan_batch_size
    return Batch(
        real=torch.empty(batch, 3, config.image_size, config.image_size, device=META),
        labels=torch.empty(batch, dtype=torch.long, device=META),
        z=torch.empty(batch, config.z_dim, device=META),
        epsilon=torch.empty(batch, 1, 1, 1, device=META),
    )
