"""StyleGAN2's generator (Karras et al. 2020), small: a style scales the channels of each convolution.

Left out are noise inputs (an image is a function of z alone), style mixing and the path length penalty. Parameters with
latent_dim=64, decoder_width=128 at image_size 64: 0.67 M, of these 0.08 M of the mapping and the styles.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, linear

from models.image_size import halvings

START = 4  # the constant that every image starts from is START x START
WIDE = 8  # maps up to WIDE x WIDE have all channels
NARROWEST = 16  # channels that no larger map falls below
MAPPING_DEPTH = 2
MAPPING_RATE = 0.01  # learning rate of the mapping network, relative to the others'
SLOPE, GAIN = 0.2, math.sqrt(2)  # of the activation, which keeps the mean square
EPSILON = 1e-8


class StyleGenerator(nn.Module):
    """forward(z (B, L), labels int64 (B,)) -> images (B, 3, S, S), of a trained generator mostly within [-1, 1].

    The map of 8x8 has `width` channels, each larger one half as many as the one before, but NARROWEST. Weights are
    equalised (Karras et al. 2018, section 4.1): N(0, 1), and scaled at each use, so that one learning rate, of about
    2e-3, suits all layers.
    """

    def __init__(self, image_size: int, latent_dim: int, width: int, num_classes: int = 2):
        super().__init__()
        sizes = [START * 2**i for i in range(halvings(image_size, START) + 1)]
        widths = [min(width, max(NARROWEST, width * WIDE // size)) for size in sizes]
        self.class_embedding = nn.Embedding(num_classes, latent_dim)  # N(0, 1)
        self.mapping = nn.ModuleList(
            EqualisedLinear(inputs, latent_dim, rate=MAPPING_RATE)
            for inputs in (2 * latent_dim, *[latent_dim] * (MAPPING_DEPTH - 1))
        )
        self.start = nn.Parameter(torch.randn(1, widths[0], START, START))
        inputs = [widths[0], *widths]  # of the first convolution of each size
        self.enter = nn.ModuleList(
            ModulatedConvolution(latent_dim, *channels, 3) for channels in zip(inputs, widths, strict=False)
        )
        self.refine = nn.ModuleList(ModulatedConvolution(latent_dim, channels, channels, 3) for channels in widths[1:])
        self.to_rgb = nn.ModuleList(
            ModulatedConvolution(latent_dim, channels, 3, 1, demodulate=False) for channels in widths
        )

    def style(self, z: Tensor, labels: Tensor) -> Tensor:
        """The mapping network: w (B, L)."""
        style = torch.cat([normalised(z), normalised(self.class_embedding(labels))], dim=1)
        for layer in self.mapping:
            style = activate(layer(style))
        return style

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Each size's features add to the image (Karras et al. 2020, section 4.1, output skips)."""
        style = self.style(z, labels)
        features = activate(self.enter[0](self.start, style))  # (B, C, 4, 4)
        image = self.to_rgb[0](features, style).to(self.start.dtype)  # autocast's bfloat16 would round pixels
        for enter, refine, to_rgb in zip(self.enter[1:], self.refine, self.to_rgb[1:], strict=True):
            features = activate(enter(doubled(features), style))
            features = activate(refine(features, style))
            image = doubled(image) + to_rgb(features, style)
        return image

    def forward_batches(self, z: Tensor, labels: Tensor, batches: int) -> list[Tensor]:
        """Images of `batches` batches that lie one after the other in z and labels."""
        return list(self(z, labels).chunk(batches))


class ModulatedConvolution(nn.Module):
    """Convolution whose weights are scaled for each image by its style, and, unless told not to, demodulated.

    Weight w_oik becomes d_o s_i w_oik with d_o = 1 / sqrt(sum_ik (s_i w_oik)^2) (Karras et al. 2020, eq. 1 and 3): for
    inputs of unit variance outputs have it, too. Both factors move out of the sum over i and k, s_i to the input's
    channels and d_o to the output's, so that one convolution serves the whole batch.
    """

    def __init__(self, latent_dim: int, inputs: int, outputs: int, size: int, demodulate: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scales = EqualisedLinear(latent_dim, inputs, bias=1.0)
        self.gain = (inputs * size**2) ** -0.5
        self.demodulate = demodulate

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """features (B or 1, C, H, W), style (B, L) -> (B, outputs, H, W)."""
        scales, weight = self.scales(style), self.weight * self.gain
        output = conv2d(features * scales[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            variance = linear(scales.square(), weight.square().sum(dim=(2, 3)))  # (B, outputs)
            output = output * (variance + EPSILON).rsqrt()[:, :, None, None]
        return output + self.bias[:, None, None]


class EqualisedLinear(nn.Module):
    """Linear layer whose weights and bias learn at `rate` times the optimiser's learning rate; `bias` is the first."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = rate * inputs**-0.5, rate

    def forward(self, features: Tensor) -> Tensor:
        return linear(features, self.weight * self.gain, self.bias * self.rate)


def normalised(features: Tensor) -> Tensor:
    """Rows of mean square 1."""
    return features * (features.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


def doubled(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    return interpolate(maps, scale_factor=2, mode="bilinear")


def activate(features: Tensor) -> Tensor:
    return leaky_relu(features, SLOPE) * GAIN
