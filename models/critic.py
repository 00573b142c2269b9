"""Patch critic of the WGAN-GP, class-conditional by projection."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, leaky_relu

from models.image_size import halvings

MAP_SIZE = 4  # the score map is MAP_SIZE x MAP_SIZE
SLOPE = 0.2
MAX_WIDENING = 4  # no layer is wider than this times `width`


class Critic(nn.Module):
    """Strided 4x4 convolutions and LeakyReLU down to a 4x4 map of scores; no norm, no sigmoid.

    Batch norm would make the samples of a batch depend on each other, which the gradient penalty does not allow
    (Gulrajani et al. 2017, section 4). The class enters by projection (Miyato and Koyama 2018, eq. 3), at every patch.
    Layers have width, 2 width, 4 width, 4 width, ... channels: 2.76 M parameters at image_size 128, width 64. Initial
    weights follow He et al. (2015), as in Gulrajani et al.'s code.
    """

    scores_apart = False  # whether real and synthetic images must be scored in calls of their own

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
        # On the scale of the linear score, so that neither term outweighs the other.
        nn.init.normal_(self.class_embedding.weight, std=self.class_embedding.embedding_dim**-0.5)

    def score_map(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1], labels int64 (B,) -> one score for each patch (B, 4, 4)."""
        features = self.features(images)[-1]
        # Product and sum instead of a matrix product: autocast keeps them, and so the scores, in float32.
        return (features * self.direction(labels)[:, :, None, None]).sum(dim=1) + self.score.bias

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean of the score map: (B,)."""
        return self.score_map(images, labels).mean(dim=(1, 2))

    def features(self, images: Tensor) -> list[Tensor]:
        """The output of each layer; in place, so that a layer keeps one tensor for the backward pass and not two."""
        outputs = [images]
        for convolution in self.convolutions:
            outputs.append(leaky_relu(convolution(outputs[-1]), SLOPE, inplace=True))
        return outputs[1:]

    def direction(self, labels: Tensor) -> Tensor:
        """The vectors (B, C) that patches' features are projected on, by class."""
        return self.score.weight + self.class_embedding(labels)

    def input_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """The gradient of each score with respect to its image (B, 3, S, S), differentiable in the weights.

        The chain rule written out: transposed convolutions and LeakyReLU's slopes, last layer first. The slopes are
        constants, so the forward pass needs no graph, and the chain needs first derivatives only.
        `autograd.grad(create_graph=True)` would also carry LeakyReLU's second derivative, which is zero, backwards
        through the whole critic.
        """
        with torch.no_grad():
            outputs = self.features(images)
        gradient = self.direction(labels)[:, :, None, None].to(outputs[-1].dtype) / MAP_SIZE**2
        gradient = gradient.expand_as(outputs[-1]).contiguous(memory_format=torch.channels_last)
        for convolution, output in zip(reversed(self.convolutions), reversed(outputs), strict=True):
            gradient = torch.ops.aten.leaky_relu_backward(gradient, output, SLOPE, True)  # output and input: same sign
            gradient = conv_transpose2d(gradient, convolution.weight, stride=2, padding=1)
        return gradient


class BatchNormCritic(Critic):
    """The same layers with batch norm after all but the first (Radford et al. 2016, section 3).

    The images of a batch depend on each other, so real and synthetic ones are scored apart, and no penalty on the
    gradient of a single score can be had.
    """

    scores_apart = True
    input_gradient = None

    def __init__(self, image_size: int, width: int, num_classes: int = 2):
        super().__init__(image_size, width, num_classes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.out_channels) for layer in self.convolutions[1:])

    def features(self, images: Tensor) -> list[Tensor]:
        outputs = [images]
        for convolution, norm in zip(self.convolutions, [nn.Identity(), *self.norms], strict=True):
            outputs.append(leaky_relu(norm(convolution(outputs[-1])), SLOPE, inplace=True))
        return outputs[1:]
