"""The networks of a GAN by their names in the config; a new one is a line here."""

from collections.abc import Callable

from torch import nn

from models.critic import BatchNormCritic, Critic
from models.generator import build_generator
from models.systems.fast import FastGenerator
from models.systems.flow import FlowGenerator
from models.systems.laplacian import LaplacianCritic, LaplacianGenerator
from models.systems.principal import PrincipalGenerator
from models.systems.projected import ProjectedCritic
from models.systems.style import StyleGenerator
from study.config import GanConfig

RECURRENT_FIELDS = {
    "backbone", "image_size", "latent_dim", "lstm_depth", "lstm_width", "decoder_width", "backbone_width",
    "backbone_depth", "pretrained",
}  # fmt: skip
GENERATORS: dict[str, Callable[[GanConfig], nn.Module]] = {
    "recurrent": lambda config: build_generator(**config.model_dump(include=RECURRENT_FIELDS)),
    "principal": lambda config: PrincipalGenerator(
        config.image_size, config.latent_dim, config.residual_width, config.gaussians
    ),
    "style": lambda config: StyleGenerator(config.image_size, config.latent_dim, config.decoder_width),
    "fast": lambda config: FastGenerator(config.image_size, config.latent_dim, config.decoder_width),
    "flow": lambda config: FlowGenerator(config.image_size, config.residual_width),
    "laplacian": lambda config: LaplacianGenerator(
        config.image_size, config.latent_dim, config.decoder_width, config.residual_width
    ),
}
CRITICS: dict[str, Callable[[GanConfig], nn.Module]] = {
    "patch": lambda config: Critic(config.image_size, config.critic_width),
    "batch_norm": lambda config: BatchNormCritic(config.image_size, config.critic_width),
    "projected": lambda config: ProjectedCritic(config.image_size, config.critic_width, config.critic_features),
    "laplacian": lambda config: LaplacianCritic(config.image_size, config.critic_width),
}


def new_generator(config: GanConfig) -> nn.Module:
    """The generator of a config, with new weights."""
    return GENERATORS[config.generator](config)


def new_critic(config: GanConfig) -> nn.Module:
    """The critic of a config, with new weights."""
    return CRITICS[config.critic](config)
