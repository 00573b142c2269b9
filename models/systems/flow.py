"""Flow matching: a U-Net that knows the velocity from noise to images, and a generator that follows it.

Noise x_0 and image x_1 are joined by a straight line, x_t = (1 - t) x_0 + t x_1 (Lipman et al. 2023, eq. 22 with
sigma_min = 0). The network learns the mean velocity x_1 - x_0 of the lines through x_t; images are made from noise by
integrating dx/dt = v(x, t, class) from 0 to 1.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle, silu

from models.image_size import halvings

PATCH = 2  # pixels, of a side, that are the channels of one cell: the network's finest map has S/2 x S/2 cells
COARSEST = 8  # the coarsest map is 8x8
MAX_WIDENING = 4  # no map has more channels than this times `width`
FREQUENCIES, HIGHEST = 16, 100.0  # of the time embedding, from 1 to the highest in radians
STEPS = 5  # of the integration, with two evaluations of the network each
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def logit_normal(uniform: Tensor) -> Tensor:
    """Numbers uniform in [0, 1) -> times t whose logit is standard normal: most in the middle, where v is hardest.

    Esser et al. 2024, section 3.1.
    """
    return torch.special.ndtri(uniform).sigmoid()


def flow_matching_loss(velocity: Velocity, real: Tensor, noise: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Mean of (v(x_t, t) - (real - noise))^2: a scalar (Lipman et al. 2023, eq. 23 with sigma_min = 0).

    Images and noise (B, 3, S, S), t (B, 1, 1, 1) in [0, 1], labels int64 (B,).
    """
    return (velocity((1 - t) * noise + t * real, t.flatten(), labels) - (real - noise)).square().mean()


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, the second normalised by the condition (Dhariwal and Nichol 2021).

    The second one starts at zero: the block begins as its shortcut.
    """

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.first_norm, self.second_norm = group_norm(inputs), group_norm(outputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(condition, 2 * outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1)
        inner = self.first(silu(self.first_norm(features)))
        return self.shortcut(features) + self.second(silu(self.second_norm(inner) * (1 + scale) + shift))


class VelocityField(nn.Module):
    """v(x (B, 3, S, S), t (B,) or (1,) in [0, 1], labels int64 (B,)) -> velocities (B, 3, S, S); zero at the start.

    A U-Net on patches of 2x2 pixels: maps of S/2, ..., 8 cells a side with width, 2 width, 4 width, 4 width, ...
    channels, one block a map on the way down, one more at the bottom, one a map on the way up, where what the way down
    had is added: 0.85 M parameters at image_size 64, width 32.
    """

    def __init__(self, image_size: int, width: int, num_classes: int = 2):
        super().__init__()
        widths = [width * min(2**i, MAX_WIDENING) for i in range(halvings(image_size, COARSEST))]
        condition = 4 * width
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.class_embedding = nn.Embedding(num_classes, condition)
        self.enter = nn.Conv2d(3 * PATCH**2, width, 3, padding=1)
        self.down = nn.ModuleList(Block(finer, own, condition) for finer, own in pairwise([width, *widths]))
        self.bottom = Block(widths[-1], widths[-1], condition)
        self.rise = nn.ModuleList(nn.Conv2d(coarser, own, 1) for own, coarser in pairwise(widths))
        self.up = nn.ModuleList(Block(own, own, condition) for own in widths[:-1])
        self.norm = group_norm(width)
        self.leave = zeroed(nn.Conv2d(width, 3 * PATCH**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        waves = self.time(sinusoids(t).to(self.enter.weight.dtype))
        condition = silu(waves + self.class_embedding(labels))  # (B, 4 W)
        features = self.enter(pixel_unshuffle(x, PATCH))  # (B, W, S/2, S/2)
        maps = [self.down[0](features, condition)]
        for block in self.down[1:]:
            maps.append(block(avg_pool2d(maps[-1], 2), condition))
        features = self.bottom(maps.pop(), condition)  # (B, C, 8, 8)
        for rise, block in zip(reversed(self.rise), reversed(self.up), strict=True):
            features = block(maps.pop() + interpolate(rise(features), scale_factor=2.0), condition)
        return pixel_shuffle(self.leave(silu(self.norm(features))), PATCH)


class FlowGenerator(nn.Module):
    """forward(z (B, 3 * S * S), labels int64 (B,)) -> images (B, 3, S, S), mostly within [-1, 1].

    z is the noise at t = 0. The midpoint method takes it to t = 1 in `STEPS` steps: it asks for no velocity at t = 1,
    which no training has seen.
    """

    def __init__(self, image_size: int, width: int, num_classes: int = 2):
        super().__init__()
        self.image_size = image_size
        self.velocity = VelocityField(image_size, width, num_classes)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        # Pixels are added up in float32 at least, in whatever dtype the network computes its velocities.
        x = z.view(-1, 3, self.image_size, self.image_size).to(torch.promote_types(z.dtype, torch.float32))
        for start, end in pairwise(step / STEPS for step in range(STEPS + 1)):
            middle = (start + end) / 2
            halfway = x + (middle - start) * self.velocity_at(start, x, labels)
            x = x + (end - start) * self.velocity_at(middle, halfway, labels)
        return x

    def velocity_at(self, t: float, x: Tensor, labels: Tensor) -> Tensor:
        return self.velocity(x.to(self.velocity.enter.weight.dtype), x.new_full((1,), t), labels)

    def forward_batches(self, z: Tensor, labels: Tensor, batches: int) -> list[Tensor]:
        """Images of `batches` batches that lie one after the other in z and labels."""
        return list(self(z, labels).chunk(batches))


def sinusoids(t: Tensor) -> Tensor:
    """Times (B,) -> their sines and cosines (B, 2 * FREQUENCIES), in the dtype of t."""
    exponents = torch.arange(FREQUENCIES, dtype=t.dtype, device=t.device) / (FREQUENCIES - 1)
    angles = t[:, None] * (math.log(HIGHEST) * exponents).exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Up to 8 groups, as many as divide the channels."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
