"""Generators that start from the principal components of the training pixels: a Gaussian per class, and a U-Net on it.

The Gaussian needs no training and is the reference that a trained generator must beat. The U-Net adds a residual that
is zero at the start: an adversarial training begins at the Gaussian's quality and learns what is not Gaussian.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

SLOPE = 0.2
JITTER = 1e-4  # added to the variances, for classes with fewer images than components
POWER_ITERATIONS = 3


class PrincipalGaussian(nn.Module):
    """x = centre[class] + z[:, :K] @ map[class], a Gaussian per class in the first K principal components.

    forward(z (B, K), labels int64 (B,)) -> images (B, 3, S, S), clamped to [-1, 1]. It has no parameters:
    `fit` sets its buffers. Of fewer images than components the last maps stay zero.
    """

    def __init__(self, image_size: int, components: int, num_classes: int = 2):
        super().__init__()
        self.image_size, self.components, self.latent_dim = image_size, components, components
        self.register_buffer("centres", torch.zeros(num_classes, 3 * image_size**2))
        self.register_buffer("maps", torch.zeros(num_classes, components, 3 * image_size**2))

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor) -> None:
        """Take means and covariances from training images float32 (N, 3, S, S) in [-1, 1] and labels (N,)."""
        pixels = images.flatten(1)
        mean = pixels.mean(dim=0)
        rank = min(self.components, len(pixels) - 1)
        axes = torch.svd_lowrank(pixels - mean, q=rank, niter=POWER_ITERATIONS)[2]  # (3 S S, rank)
        coordinates = (pixels - mean) @ axes
        for label in range(len(self.centres)):
            own = coordinates[labels == label]
            covariance = torch.cov(own.T) if len(own) > 1 else torch.zeros(rank, rank)
            root = torch.linalg.cholesky(covariance.to(axes) + JITTER * torch.eye(rank).to(axes))
            self.maps[label, :rank] = root.T @ axes.T
            self.centres[label] = own.mean(dim=0) @ axes.T + mean

    def start(self, z: Tensor, labels: Tensor) -> Tensor:
        """The Gaussian's images (B, 3, S, S), not clamped."""
        coordinates = z[:, None, : self.components]
        pixels = torch.bmm(coordinates, self.maps[labels])[:, 0] + self.centres[labels]
        return pixels.view(-1, 3, self.image_size, self.image_size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.start(z, labels).clamp(-1, 1)


class PrincipalResidual(PrincipalGaussian):
    """The Gaussian and a U-Net of three scales that adds to it; z holds the coordinates, then a noise map (S, S).

    forward(z (B, K + S * S), labels (B,)) -> images (B, 3, S, S), mostly within [-1, 1].
    """

    def __init__(self, image_size: int, components: int, width: int, num_classes: int = 2):
        super().__init__(image_size, components, num_classes)
        self.latent_dim = components + image_size**2
        self.enter = convolution(4, width)
        self.down = convolution(width, 2 * width)
        self.bottom = convolution(2 * width, 2 * width)
        self.condition = nn.Linear(components, 2 * width)
        self.class_embedding = nn.Embedding(num_classes, 2 * width)
        self.up = convolution(4 * width, 2 * width)
        self.leave = convolution(3 * width, width)
        self.residual = convolution(width, 3)
        nn.init.zeros_(self.residual.weight)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        start = self.start(z, labels)  # (B, 3, S, S)
        noise = z[:, self.components :].view(-1, 1, self.image_size, self.image_size)
        full = activate(self.enter(torch.cat([start, noise], 1)))  # (B, W, S, S)
        half = activate(self.down(avg_pool2d(full, 2)))  # (B, 2 W, S/2, S/2)
        condition = self.condition(z[:, : self.components]) + self.class_embedding(labels)
        low = activate(self.bottom(avg_pool2d(half, 2)) + condition[:, :, None, None])  # (B, 2 W, S/4, S/4)
        half = activate(self.up(torch.cat([interpolate(low, scale_factor=2), half], 1)))
        full = activate(self.leave(torch.cat([interpolate(half, scale_factor=2), full], 1)))
        return start + self.residual(full)


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def activate(features: Tensor) -> Tensor:
    return leaky_relu(features, SLOPE)
