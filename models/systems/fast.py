"""A convolutional generator for few images: nearest-neighbour upsampling and skip-layer excitation.

After FastGAN (Liu et al. 2021, section 3), class-conditional and without its noise, so that z alone decides an image.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from models.image_size import halvings

START = 4  # side of the first map
# Channels of the maps of 4, 8, 16, ... pixels a side, as parts of `width`.
WIDTHS = {4: 2, 8: 1, 16: 1, 32: 1 / 2, 64: 1 / 4, 128: 1 / 8, 256: 1 / 16}
EXCITED = 8  # times as wide and high is the map that a map excites
SLOPE = 0.1


class FastGenerator(nn.Module):
    """forward(z (B, latent_dim), labels int64 (B,)) -> images (B, 3, S, S) in [-1, 1].

    A class embedding, half as wide as z, is appended to z. `width` is the number of channels of the 8x8 map. Raises
    ValueError for one that cannot be divided as `WIDTHS` says. Parameters with latent_dim=64, width=64 (preset smoke):

        image_size    32       64      128      256
        parameters  0.72 M   0.75 M   0.76 M   0.76 M
    """

    def __init__(self, image_size: int, latent_dim: int, width: int, num_classes: int = 2):
        super().__init__()
        sides = [START * 2**i for i in range(halvings(image_size, START) + 1)]
        if any(width * WIDTHS[side] % 1 for side in sides):
            smallest = round(1 / min(WIDTHS[side] for side in sides))
            raise ValueError(f"decoder_width={width} must be a multiple of {smallest} at image_size={image_size}")
        widths = {side: int(width * WIDTHS[side]) for side in sides}
        condition_width = latent_dim + latent_dim // 2
        self.class_embedding = nn.Embedding(num_classes, latent_dim // 2)
        self.start = gated(nn.ConvTranspose2d(condition_width, 2 * widths[START], START, bias=False))
        self.upsampling = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                *gated(nn.Conv2d(widths[side // 2], 2 * widths[side], 3, padding=1, bias=False)),
            )
            for side in sides[1:]
        )
        self.excitations = nn.ModuleDict(
            {str(side): excitation(widths[side // EXCITED], widths[side]) for side in sides if side // EXCITED >= START}
        )
        self.image = nn.Conv2d(widths[image_size], 3, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = torch.cat([z, self.class_embedding(labels)], dim=1)
        features = self.start(condition[:, :, None, None])  # (B, 2 W, 4, 4)
        maps = {START: features}
        for upsampling in self.upsampling:
            features = upsampling(features)
            side = START * 2 ** len(maps)
            if str(side) in self.excitations:  # Liu et al. 2021, eq. 1
                low = maps[side // EXCITED]
                features = features * self.excitations[str(side)](avg_pool2d(low, low.shape[-1] // START))
            maps[side] = features
        return self.image(features).tanh()

    def forward_batches(self, z: Tensor, labels: Tensor, batches: int) -> list[Tensor]:
        """Images of `batches` batches that follow each other in z and labels; batch norm sees each by itself."""
        return [self(*batch) for batch in zip(z.chunk(batches), labels.chunk(batches), strict=True)]


def gated(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """The convolution, batch norm, and a gated linear unit that leaves half of the channels."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.GLU(dim=1))


def excitation(inputs: int, outputs: int) -> nn.Sequential:
    """A 4x4 map (B, inputs, 4, 4) -> a factor in (0, 1) for each channel of a larger one (B, outputs, 1, 1)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, START), nn.LeakyReLU(SLOPE), nn.Conv2d(outputs, outputs, 1), nn.Sigmoid()
    )
