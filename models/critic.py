"""Patch critic of the WGAN-GP, class-conditional by projection."""

import torch
from torch import Tensor, nn

from models.image_size import halvings

MAP_SIZE = 4  # the score map is MAP_SIZE x MAP_SIZE
SLOPE = 0.2
MAX_WIDENING = 4  # no layer is wider than this times `width`


class Critic(nn.Module):
    """Strided 4x4 convolutions and LeakyReLU down to a 4x4 map of scores; no norm, no sigmoid.

    Batch norm would tie the samples of a batch together, which the gradient penalty does not allow (Gulrajani et al.
    2017, section 4). The class enters by projection (Miyato and Koyama 2018, eq. 3), at every patch. Layers have
    width, 2 width, 4 width, 4 width, ... channels: 2.76 M parameters at image_size 128, width 64. Weights start from
    He et al. (2015), as in Gulrajani et al.'s code.

    Raises ValueError for an image_size outside `IMAGE_SIZES`.
    """

    def __init__(self, image_size: int, width: int, num_classes: int = 2):
        super().__init__()
        widths = [width * min(2**i, MAX_WIDENING) for i in range(halvings(image_size, MAP_SIZE))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in zip([3, *widths], widths, strict=False)
        )
        self.score = nn.Linear(widths[-1], 1)
        self.class_embedding = nn.Embedding(num_classes, widths[-1])
        self._initialise()

    def _initialise(self) -> None:
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
            nn.init.zeros_(convolution.bias)
        # Of the linear score's own scale, so that the class term neither drowns it nor vanishes.
        nn.init.normal_(self.class_embedding.weight, std=self.class_embedding.embedding_dim**-0.5)

    def score_map(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1], labels int64 (B,) -> one score for each patch (B, 4, 4)."""
        features = images
        for convolution in self.convolutions:
            features = leaky_relu(convolution(features), SLOPE)
        direction = self.score.weight + self.class_embedding(labels)  # (B, C)
        # Product and sum rather than a matrix product: autocast leaves them, and so the scores, in float32.
        return (features * direction[:, :, None, None]).sum(dim=1) + self.score.bias

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean of the score map: (B,)."""
        return self.score_map(images, labels).mean(dim=(1, 2))


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    """LeakyReLU as a product with a constant mask: same values and gradients of every order.

    The second derivative of torch's own LeakyReLU is a tensor of zeros that the gradient penalty then carries
    backwards through the whole critic; a constant mask leaves that pass out.
    """
    with torch.no_grad():
        mask = torch.full_like(x, slope).masked_fill_(x > 0, 1.0)
    return x * mask
