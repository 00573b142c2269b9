"""Class-conditional generators: (z, class) -> 64 tokens -> LSTM -> 8x8 map -> transposed convolutions -> image.

The paper does not say how its synthetic images get their labels; here a class embedding, half as wide as z, is
appended to z. The backbone makes the 64 tokens: one linear layer, or the first six stages of EfficientNetV2-S or -M.
(S has six. M's seventh alone holds 17.7 M parameters and would put the generator far above the paper's count.)

Parameters at 128x128 with latent_dim=256, lstm_width=368, decoder_width=256, backbone_width=backbone_depth=1:

    backbone          lstm_depth     here     paper
    plain                      0    7.00 M    6.8 M
    plain                      2   12.03 M   12.4 M   of these the two LSTM layers: 2.17 M, paper 2.1 M
    efficientnetv2_s           2   29.21 M   28.3 M
    efficientnetv2_m           2   43.88 M   45.7 M
"""

from functools import partial

import torch
from torch import Tensor, nn

from models.image_size import halvings
from models.lstm import LSTM
from models.timm_model import timm_model

GRID = 8  # the token grid and the map that the decoder starts from are GRID x GRID
SEED_GRID = 32  # side of the 4-D tensor that an EfficientNetV2 backbone starts from
SEED_CHANNELS = 16
STAGES = 6  # of EfficientNetV2


def build_generator(
    backbone: str,
    *,
    image_size: int,
    latent_dim: int,
    num_classes: int = 2,
    lstm_depth: int,
    lstm_width: int,
    decoder_width: int,
    backbone_width: float = 1.0,
    backbone_depth: float = 1.0,
    pretrained: bool = False,
) -> nn.Module:
    """A generator: forward(z (B, latent_dim), labels int64 (B,)) -> images (B, 3, image_size, image_size) in [-1, 1].

    `lstm_depth` 0 leaves out the LSTM and its projection: the paper's baseline. `decoder_width` is the number of
    channels of the 8x8 map; each transposed convolution halves it. `backbone_width` and `backbone_depth` multiply
    channels and blocks of an EfficientNetV2 backbone; `pretrained` loads its ImageNet weights from timm's hub.

    Raises ValueError for a `decoder_width` that cannot be halved often enough, and for weights that cannot be fetched.
    """
    condition_width = latent_dim + latent_dim // 2
    token_width = lstm_width if lstm_depth else decoder_width
    options = {"width": backbone_width, "depth": backbone_depth, "pretrained": pretrained}
    return Generator(
        class_embedding=nn.Embedding(num_classes, latent_dim // 2),
        tokens=GENERATORS[backbone](condition_width, token_width, **options),
        recurrence=Recurrence(lstm_depth, lstm_width, decoder_width) if lstm_depth else nn.Identity(),
        decoder=decoder(decoder_width, image_size),
    )


class Generator(nn.Module):
    """The four pieces in a row; see `build_generator`."""

    def __init__(self, class_embedding: nn.Module, tokens: nn.Module, recurrence: nn.Module, decoder: nn.Module):
        super().__init__()
        self.class_embedding = class_embedding
        self.tokens = tokens
        self.recurrence = recurrence
        self.decoder = decoder

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.forward_batches(z, labels, 1)[0]

    def forward_batches(self, z: Tensor, labels: Tensor, batches: int) -> list[Tensor]:
        """Images of `batches` batches that follow each other in z and labels.

        Batch norm sees each batch by itself, as in separate calls. The LSTM, whose steps wait for each other, sees all
        batches at once.
        """
        condition = torch.cat([z, self.class_embedding(labels)], dim=1)
        tokens = torch.cat([self.tokens(part) for part in condition.chunk(batches)])
        sequence = self.recurrence(tokens)  # (batches B, 64, decoder_width)
        grid = sequence.transpose(1, 2).unflatten(2, (GRID, GRID))  # (batches B, decoder_width, 8, 8)
        return [self.decoder(part).tanh() for part in grid.chunk(batches)]


class LinearTokens(nn.Sequential):
    """One linear layer: (B, condition_width) -> 64 tokens (B, 64, token_width)."""

    def __init__(self, condition_width: int, token_width: int, *, width: float, depth: float, pretrained: bool):
        assert not pretrained, "`plain` has no ImageNet weights"
        super().__init__(
            nn.Linear(condition_width, GRID * GRID * token_width),
            nn.Unflatten(1, (GRID * GRID, token_width)),
        )


class EfficientNetTokens(nn.Module):
    """z as a 4-D tensor -> EfficientNetV2 stages -> 64 tokens (B, 64, token_width)."""

    def __init__(
        self, name: str, condition_width: int, token_width: int, *, width: float, depth: float, pretrained: bool
    ):
        super().__init__()
        network = efficientnet(name, width, depth, pretrained)
        seed_channels = max(4, round(SEED_CHANNELS * width))
        self.seed = nn.Linear(condition_width, seed_channels * SEED_GRID * SEED_GRID)
        self.unflatten = nn.Unflatten(1, (seed_channels, SEED_GRID, SEED_GRID))
        self.stem = nn.Sequential(
            nn.Conv2d(seed_channels, network.conv_stem.out_channels, 3, padding=1, bias=False), network.bn1
        )
        self.stages = network.blocks[:STAGES]
        for stage in self.stages[3:]:  # stages 1 and 2 already bring 32x32 down to 8x8
            remove_strides(stage)
        self.project = nn.Linear(self.stages[-1][-1].conv_pwl.out_channels, token_width)

    def forward(self, condition: Tensor) -> Tensor:
        features = self.stages(self.stem(self.unflatten(self.seed(condition))))  # (B, C, 8, 8)
        return self.project(features.flatten(2).transpose(1, 2))


def efficientnet(name: str, width: float, depth: float, pretrained: bool) -> nn.Module:
    """timm's EfficientNetV2 in the TensorFlow variant, for which there are ImageNet weights."""
    assert not pretrained or (width, depth) == (1.0, 1.0), "ImageNet weights have one size"
    return timm_model(f"tf_{name}", pretrained=pretrained, channel_multiplier=width, depth_multiplier=depth)


def remove_strides(stage: nn.Module) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


GENERATORS = {
    "plain": LinearTokens,
    "efficientnetv2_s": partial(EfficientNetTokens, "efficientnetv2_s"),
    "efficientnetv2_m": partial(EfficientNetTokens, "efficientnetv2_m"),
}


class Recurrence(nn.Module):
    """LSTM layers over the tokens, then a projection: (B, 64, lstm_width) -> (B, 64, decoder_width)."""

    def __init__(self, lstm_depth: int, lstm_width: int, decoder_width: int):
        super().__init__()
        self.lstm = LSTM(lstm_width, lstm_width, num_layers=lstm_depth, batch_first=True)
        self.project = nn.Linear(lstm_width, decoder_width, bias=False)  # batch norm follows

    def forward(self, sequence: Tensor) -> Tensor:
        return self.project(self.lstm(sequence)[0].contiguous())  # on a CPU the LSTM leaves time outermost


def decoder(width: int, image_size: int) -> nn.Sequential:
    """(B, width, 8, 8) -> (B, 3, image_size, image_size): DCGAN's upsampling (Radford et al. 2016, section 3).

    Batch norm, ReLU and a 4x4 transposed convolution of stride 2 for each doubling, with DCGAN's N(0, 0.02) weights.
    """
    doublings = halvings(image_size, GRID)
    if width % 2 ** (doublings - 1):
        raise ValueError(
            f"decoder_width={width} must be a multiple of {2 ** (doublings - 1)} at image_size={image_size}"
        )
    layers = []
    for i in range(doublings):
        last = i == doublings - 1
        outputs = 3 if last else width // 2
        # No bias where batch norm follows: its gradient would be rounding errors only.
        upsample = nn.ConvTranspose2d(width, outputs, 4, stride=2, padding=1, bias=last)
        nn.init.normal_(upsample.weight, std=0.02)
        if last:
            nn.init.zeros_(upsample.bias)
        layers += [nn.BatchNorm2d(width), nn.ReLU(), upsample]
        width = outputs
    return nn.Sequential(*layers)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
