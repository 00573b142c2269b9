"""A generator that starts from the principal components of the training pixels: Gaussians, and a U-Net on them.

Untrained it draws from one Gaussian per class over the first principal components: the reference that a trained
generator must beat. The U-Net adds a residual that is zero at the start: an adversarial training begins at the
Gaussian's quality and learns what is not Gaussian.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

SLOPE = 0.2
JITTER = 1e-4  # added to the variances, for classes with fewer images than components
POWER_ITERATIONS = 3


class PrincipalGenerator(nn.Module):
    """forward(z (B, K + S * S), labels int64 (B,)) -> images (B, 3, S, S), mostly within [-1, 1].

    The first K numbers of z are coordinates, which the class's mean and covariance turn into those of the principal
    axes; the others are a noise map. `fit` sets the Gaussians; the U-Net of three scales has `width` channels.
    """

    def __init__(self, image_size: int, components: int, width: int, num_classes: int = 2):
        super().__init__()
        self.image_size, self.components = image_size, components
        self.register_buffer("mean", torch.zeros(3 * image_size**2))
        self.register_buffer("axes", torch.zeros(components, 3 * image_size**2))
        self.register_buffer("centres", torch.zeros(num_classes, components))
        self.register_buffer("roots", torch.zeros(num_classes, components, components))
        self.enter = convolution(4, width)
        self.down = convolution(width, 2 * width)
        self.bottom = convolution(2 * width, 2 * width)
        self.condition = nn.Linear(components, 2 * width)
        self.class_embedding = nn.Embedding(num_classes, 2 * width)
        self.up = convolution(4 * width, 2 * width)
        self.leave = convolution(3 * width, width)
        self.residual = convolution(width, 3)
        nn.init.zeros_(self.residual.weight)

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor) -> None:
        """Take axes, means and covariances from training images float32 (N, 3, S, S) in [-1, 1] and labels (N,).

        Of fewer images than components, the last axes stay zero.
        """
        pixels = images.flatten(1)
        self.mean.copy_(pixels.mean(dim=0))
        rank = min(self.components, len(pixels) - 1)
        axes = torch.svd_lowrank(pixels - self.mean, q=rank, niter=POWER_ITERATIONS)[2]  # (3 S S, rank)
        self.axes[:rank] = axes.T
        coordinates = (pixels - self.mean) @ axes
        for label in range(len(self.centres)):
            own = coordinates[labels == label]
            self.centres[label, :rank] = own.mean(dim=0)
            covariance = torch.cov(own.T) if len(own) > 1 else torch.zeros(rank, rank).to(own)
            jitter = JITTER * torch.eye(rank).to(own)
            self.roots[label, :rank, :rank] = torch.linalg.cholesky(covariance.view(rank, rank) + jitter)

    def start(self, z: Tensor, labels: Tensor) -> Tensor:
        """The Gaussians' images (B, 3, S, S)."""
        # Without autocast, whose bfloat16 would round pixels to 1 in 128; the meta device, of shapes alone, has none.
        with torch.autocast(z.device.type, enabled=False) if z.device.type != "meta" else nullcontext():
            normal = z[:, : self.components].to(self.mean.dtype)
            coordinates = torch.bmm(self.roots[labels], normal[:, :, None])[:, :, 0] + self.centres[labels]
            pixels = coordinates @ self.axes + self.mean
        return pixels.view(-1, 3, self.image_size, self.image_size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        start = self.start(z, labels)  # (B, 3, S, S)
        noise = z[:, self.components :].reshape(-1, 1, self.image_size, self.image_size)
        full = activate(self.enter(torch.cat([start, noise], 1)))  # (B, W, S, S)
        half = activate(self.down(avg_pool2d(full, 2)))  # (B, 2 W, S/2, S/2)
        condition = self.condition(z[:, : self.components]) + self.class_embedding(labels)
        low = self.bottom(avg_pool2d(half, 2))  # (B, 2 W, S/4, S/4)
        # The embedding is float32 under autocast: uncast, it made the maps that follow float32, 5 % of a step at 64 px.
        low = activate(low + condition[:, :, None, None].to(low.dtype))
        half = activate(self.up(torch.cat([interpolate(low, scale_factor=2), half], 1)))
        full = activate(self.leave(torch.cat([interpolate(half, scale_factor=2), full], 1)))
        return start + self.residual(full).to(start.dtype)

    def forward_batches(self, z: Tensor, labels: Tensor, batches: int) -> list[Tensor]:
        """Images of `batches` batches that lie one after the other in z and labels."""
        return list(self(z, labels).chunk(batches))


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def activate(features: Tensor) -> Tensor:
    return leaky_relu(features, SLOPE)
