"""A plain DCGAN at 64 px with the settings of Radford et al. (2016), sections 3 and 4; unconditional."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

LATENT, WIDTH, BATCH = 100, 64, 128
SLOPE = 0.2


def generator(width: int = WIDTH) -> nn.Sequential:
    """z (B, 100, 1, 1) -> images (B, 3, 64, 64) in [-1, 1]: 16 x width channels at 4x4, halved at each doubling."""
    layers = [nn.ConvTranspose2d(LATENT, 16 * width, 4, bias=False)]
    for inputs in (16 * width, 8 * width, 4 * width):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), up(inputs, inputs // 2)]
    return nn.Sequential(*layers, nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True), up(2 * width, 3), nn.Tanh())


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=outputs == 3)


def discriminator(width: int = WIDTH) -> nn.Sequential:
    """Images (B, 3, 64, 64) -> logits (B, 1, 1, 1); batch norm but in the first and last layer."""
    layers = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    for inputs in (width, 2 * width, 4 * width):
        convolution = nn.Conv2d(inputs, 2 * inputs, 4, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(2 * inputs), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4))


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Dcgan:
    """Both networks and their optimisers: Adam, learning rate 2e-4, beta1 0.5."""

    def __init__(self, device: torch.device, width: int = WIDTH):
        self.generator, self.discriminator = generator(width).to(device), discriminator(width).to(device)
        for network in (self.generator, self.discriminator):
            network.apply(initialise)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        ]

    def step(self, real: Tensor) -> None:
        """One update of the discriminator, then of the generator; real (B, 3, 64, 64) in [-1, 1]."""
        fake = self.generator(torch.randn(len(real), LATENT, 1, 1, device=real.device))
        self.update(1, self.loss(real, 1.0) + self.loss(fake.detach(), 0.0))
        self.update(0, self.loss(fake, 1.0))

    def loss(self, images: Tensor, target: float) -> Tensor:
        logits = self.discriminator(images)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def update(self, network: int, loss: Tensor) -> None:
        self.optimisers[network].zero_grad()
        loss.backward()
        self.optimisers[network].step()
