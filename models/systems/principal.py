"""A generator that starts from the principal components of the training pixels: Gaussians, and a U-Net on them.

Untrained it draws from Gaussians over the first principal components; one per class is the reference that a trained
generator must beat. The U-Net adds a residual that is zero at the start: an adversarial training begins at the
Gaussians' quality and learns what is not Gaussian.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

SLOPE = 0.2
JITTER = 1e-4  # added to the variances, for classes with fewer images than components
POWER_ITERATIONS = 3
MIN_IMAGES = 32  # that a Gaussian describes where a class has several: no image can be read from its mean
LEADING = 30  # components in which a class is divided


class PrincipalGenerator(nn.Module):
    """forward(z (B, K + S * S), labels int64 (B,)) -> images (B, 3, S, S), mostly within [-1, 1].

    The first K numbers of z are coordinates, which a Gaussian's mean and covariance turn into those of the principal
    axes; the others are a noise map, whose first number chooses one of the class's `gaussians`. `fit` sets these; the
    U-Net of three scales has `width` channels.
    """

    def __init__(self, image_size: int, components: int, width: int, gaussians: int = 1, num_classes: int = 2):
        super().__init__()
        self.image_size, self.components, self.gaussians = image_size, components, gaussians
        self.register_buffer("mean", torch.zeros(3 * image_size**2))
        self.register_buffer("axes", torch.zeros(components, 3 * image_size**2))
        self.register_buffer("centres", torch.zeros(num_classes, gaussians, components))
        self.register_buffer("roots", torch.zeros(num_classes, gaussians, components, components))
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
        # In float64: at 128 px the rounding of a small class's covariance would exceed the jitter.
        coordinates = ((pixels - self.mean) @ axes).double()
        jitter = JITTER * torch.eye(rank).to(coordinates)
        for label in range(len(self.centres)):
            own = coordinates[labels == label]
            pieces = halved(own, self.gaussians)
            for index in range(self.gaussians):
                piece = own[pieces[index * len(pieces) // self.gaussians]]
                covariance = torch.cov(piece.T) if len(piece) > 1 else torch.zeros(rank, rank).to(piece)
                self.centres[label, index, :rank] = piece.mean(dim=0)
                self.roots[label, index, :rank, :rank] = torch.linalg.cholesky(covariance.view(rank, rank) + jitter)

    def start(self, z: Tensor, labels: Tensor) -> Tensor:
        """The Gaussians' images (B, 3, S, S)."""
        # Without autocast, whose bfloat16 would round pixels to 1 in 128; the meta device, of shapes alone, has none.
        with torch.autocast(z.device.type, enabled=False) if z.device.type != "meta" else nullcontext():
            normal = z[:, : self.components].to(self.mean.dtype)
            share = torch.special.ndtr(z[:, self.components].to(self.mean.dtype))  # uniform in [0, 1]
            chosen = labels, (share * self.gaussians).long().clamp(max=self.gaussians - 1)
            coordinates = torch.bmm(self.roots[chosen], normal[:, :, None])[:, :, 0] + self.centres[chosen]
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


def halved(points: Tensor, most: int) -> list[Tensor]:
    """The indices of points (N, K) in up to `most` pieces alike in number; in one, if two had under `MIN_IMAGES`.

    Each piece is halved where it varies most in the leading coordinates, whitened, as long as each keeps so many.
    """
    pieces = [torch.arange(len(points), device=points.device)]
    if len(points) < 2 * MIN_IMAGES:
        return pieces
    leading = points[:, :LEADING] - points[:, :LEADING].mean(dim=0)
    root = torch.linalg.cholesky(torch.cov(leading.T) + JITTER * torch.eye(leading.shape[1]).to(leading))
    white = torch.linalg.solve_triangular(root, leading.T, upper=False).T
    while 2 * len(pieces) <= most and len(points) >= 2 * len(pieces) * MIN_IMAGES:
        pieces = [half for piece in pieces for half in in_halves(piece, white[piece])]
    return pieces


def in_halves(indices: Tensor, points: Tensor) -> tuple[Tensor, ...]:
    """The indices of points (N, K), cut at the median along the direction of their largest variance."""
    centred = points - points.mean(dim=0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return indices[(centred @ direction).argsort()].chunk(2)


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def activate(features: Tensor) -> Tensor:
    return leaky_relu(features, SLOPE)
