"""LAPGAN (Denton et al. 2015), class-conditional: a small GAN for each level of a Laplacian pyramid.

The coarsest level makes images of 8x8 pixels from noise. Each finer level makes the residual between its image and the
coarser image enlarged to its size, from noise and the coarser image. For sampling the levels are chained. They are
trained each by itself: a level's generator and its critic are given real images' coarser ones.

The pyramid here halves by the mean of 2x2 pixels and doubles by repeating them. Halving undoes doubling, so residuals
have mean 0 in each 2x2, and those of an image's levels sum to an image that gives each of them back. The residuals that
the levels make for real images thus pass through a training step as one image, and no loss of one level has a gradient
in the networks of another.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

from models.critic import Critic
from models.image_size import halvings
from models.systems.principal import SLOPE, activate, convolution

COARSEST = 8  # side of the coarsest images, pixels
DEPTH = 2  # convolutions of a level between its first and its last
CRITIC_WIDENING = 16  # hidden units of the coarsest level's critic, as a multiple of `width`


def halved(images: Tensor) -> Tensor:
    return avg_pool2d(images, 2)


def doubled(images: Tensor) -> Tensor:
    return interpolate(images, scale_factor=2.0)


def pyramid(images: Tensor, levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """The residuals of `levels` levels, coarse to fine, the last (B, C, S, S), and for each the coarser images.

    Level i's images are `residuals[i] + doubled(coarser[i])`, which are `coarser[i + 1]` or, of the last, `images`.
    """
    of_levels = [images]
    for _ in range(levels):
        of_levels.insert(0, halved(of_levels[0]))
    return [fine - doubled(coarse) for coarse, fine in pairwise(of_levels)], of_levels[:-1]


def zeroed_embedding(num_classes: int, width: int) -> nn.Embedding:
    """Classes that begin as one: drawn from N(0, 1), as usual, they would outweigh the noise."""
    return nn.Embedding.from_pretrained(torch.zeros(num_classes, width), freeze=False)


def hidden_layers(inputs: int, width: int) -> nn.ModuleList:
    """Two linear layers of `width` units, initialised as convolutions are."""
    layers = nn.ModuleList(nn.Linear(size, width) for size in (inputs, width))
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    return layers


class CoarsestGenerator(nn.Module):
    """Latent vectors (B, L), labels int64 (B,) -> images (B, 3, 8, 8) in [-1, 1], by linear layers as in the paper."""

    def __init__(self, latent_dim: int, width: int, num_classes: int):
        super().__init__()
        self.enter, self.inner = hidden_layers(latent_dim, width)
        self.class_embedding = zeroed_embedding(num_classes, width)
        self.leave = nn.Linear(width, 3 * COARSEST**2)

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        features = activate(self.inner(activate(self.enter(latent) + self.class_embedding(labels))))
        return self.leave(features).tanh().to(latent.dtype).view(-1, 3, COARSEST, COARSEST)


class CoarsestCritic(nn.Module):
    """Images (B, 3, 8, 8), labels int64 (B,) -> scores (B,); the class enters by projection as in `Critic`."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.enter, self.inner = hidden_layers(3 * COARSEST**2, width)
        self.score = nn.Linear(width, 1)
        self.class_embedding = nn.Embedding(num_classes, width)
        nn.init.normal_(self.class_embedding.weight, std=width**-0.5)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = activate(self.inner(activate(self.enter(images.flatten(1)))))
        return (features * (self.score.weight + self.class_embedding(labels))).sum(dim=1) + self.score.bias


class ResidualGenerator(nn.Module):
    """Images (B, 3, s, s), noise (B, 1, 2 s, 2 s), labels int64 (B,) -> residuals (B, 3, 2 s, 2 s), zero in the mean.

    3x3 convolutions on the coarser grid, where a cell stands for the 2x2 pixels to be made: pixels that are repeated
    show nothing more. Noise is a plane of its own, as in the paper.
    """

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.enter = convolution(3 + 4, width)
        self.class_embedding = zeroed_embedding(num_classes, width)
        self.inner = nn.ModuleList(convolution(width, width) for _ in range(DEPTH))
        self.leave = convolution(width, 3 * 4)
        nn.init.zeros_(self.leave.weight)

    def forward(self, coarser: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        features = self.enter(torch.cat([coarser, pixel_unshuffle(noise, 2)], dim=1))  # (B, W, s, s)
        features = activate(features + self.class_embedding(labels)[:, :, None, None])
        for layer in self.inner:
            features = activate(layer(features))
        residual = pixel_shuffle(self.leave(features), 2).to(coarser.dtype)  # autocast's bfloat16 would round its mean
        return residual - doubled(halved(residual))


class LaplacianGenerator(nn.Module):
    """forward(z (B, L + 16^2 + 32^2 + ... + S^2), labels int64 (B,)) -> images (B, 3, S, S) in [-1, 1].

    The first L numbers of z make the coarsest image, the others are the levels' noise. Given `real` images, each level
    sees the coarser one of these in place of that made so far; its residual is added to the sum all the same.
    Parameters with latent_dim=64, coarse_width=256, width=48 at image_size 64: 0.28 M.
    """

    def __init__(self, image_size: int, latent_dim: int, coarse_width: int, width: int, num_classes: int = 2):
        super().__init__()
        self.latent_dim = latent_dim
        self.sides = [COARSEST * 2 ** (i + 1) for i in range(halvings(image_size, COARSEST))]
        self.coarsest = CoarsestGenerator(latent_dim, coarse_width, num_classes)
        self.levels = nn.ModuleList(ResidualGenerator(width, num_classes) for _ in self.sides)

    def forward(self, z: Tensor, labels: Tensor, real: Tensor | None = None) -> Tensor:
        latent, *noises = z.split([self.latent_dim, *(side**2 for side in self.sides)], dim=1)
        image = self.coarsest(latent, labels)
        given = pyramid(real, len(self.levels))[1] if real is not None else [None] * len(self.levels)
        for side, level, noise, coarser in zip(self.sides, self.levels, noises, given, strict=True):
            residual = level(image if coarser is None else coarser, noise.view(-1, 1, side, side), labels)
            image = doubled(image) + residual
        return image.clamp(-1, 1) if real is None else image


class LaplacianCritic(nn.Module):
    """forward(images (B, 3 or 6, S, S), labels int64 (B,)) -> scores (B, K), one of each level, the coarsest first.

    Judged are the residuals of the first three channels, beside what is coarser in the last three: a real image's own,
    or the real images that a synthetic one was made for. A level's critic sees both added, as in the paper, which loses
    nothing here. Parameters with width=48 at image_size 64: 2.15 M.
    """

    scores_apart = True
    input_gradient = None

    def __init__(self, image_size: int, width: int, num_classes: int = 2):
        super().__init__()
        sides = [COARSEST * 2 ** (i + 1) for i in range(halvings(image_size, COARSEST))]
        self.coarsest = CoarsestCritic(CRITIC_WIDENING * width, num_classes)
        self.levels = nn.ModuleList(Critic(side, width, num_classes) for side in sides)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        residuals, coarser = pyramid(images, len(self.levels))
        scores = [self.coarsest(coarser[0][:, :3], labels)]
        for level, residual, coarse in zip(self.levels, residuals, coarser, strict=True):
            scores.append(level(residual[:, :3] + doubled(coarse[:, -3:]), labels))
        return torch.stack(scores, dim=1)
