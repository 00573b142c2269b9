"""The one flat, frozen, validated config of a trial, and the presets.

A field's name is the search parameter's name and the result column's name. `GanConfig` holds what decides a GAN's
weights: trials that agree in it, in the data and in the code share one trained GAN.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from study.errors import ConfigError

Backbone = Literal["plain", "efficientnetv2_s", "efficientnetv2_m"]
# A Literal takes no text, so `--set image_size=64` is turned into a number first.
as_number = BeforeValidator(lambda text: int(text) if str(text).isdecimal() else text)
ImageSize = Annotated[Literal[32, 64, 128, 256], as_number]
Gaussians = Annotated[Literal[1, 2, 4, 8, 16], as_number]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class GanConfig(BaseModel):
    """Everything that decides the generator (architecture, WGAN-GP settings, seed)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    generator: Literal[  # see study/gan/networks.py
        "recurrent", "principal", "style", "fast", "flow", "laplacian"
    ] = "recurrent"
    backbone: Backbone = "plain"                      # of the recurrent generator, like the next three
    lstm_depth: int = Field(2, ge=0, le=4)            # 0 = no LSTM, the paper's baseline
    lstm_width: Positive = 368
    latent_dim: Positive = 256
    decoder_width: Positive = 256                     # channels of the 8x8 map
    gaussians: Gaussians = 1                          # a class, at most, that a principal generator starts from
    residual_width: Positive = 24                     # channels of the U-Net, or of the pyramid's levels
    backbone_width: float = Field(1.0, gt=0, le=2)    # EfficientNetV2 channel multiplier
    backbone_depth: float = Field(1.0, gt=0, le=2)    # EfficientNetV2 depth multiplier
    pretrained: bool = False                          # ImageNet weights of the EfficientNetV2 blocks
    critic: Literal["patch", "batch_norm", "projected", "laplacian"] = "patch"  # models/critic.py and systems/
    critic_features: Literal["efficientnet_lite0", "efficientnet_lite1"] = "efficientnet_lite1"  # of `projected`
    critic_width: Positive = 64
    image_size: ImageSize = 128                       # pixels
    gan_objective: Literal["wasserstein", "non_saturating", "relativistic", "hinge", "flow_matching"] = "wasserstein"
    penalty: Literal["interpolates", "zero_centred", "real"] = "interpolates"  # see models/objectives.py
    penalty_weight: float = Field(10.0, ge=0)         # lambda of Gulrajani et al. 2017, eq. 3
    penalty_interval: Positive = 1                    # > 1 = lazy penalty: another algorithm, opt-in
    critic_steps: Positive = 5                        # critic steps per generator step
    gan_batch_size: Positive = 64                     # over all workers of the trial
    gan_epochs: int = Field(500, ge=0)                # 0: the generator as it starts
    gan_time_limit: float = Field(0.0, ge=0)          # seconds of training; 0 = all epochs
    gan_eval_interval: Positive = 10                  # epochs between two Frechet distances
    generator_lr: Rate = 1e-4
    critic_lr: Rate = 1e-4
    weight_clip: float = Field(0.0, ge=0)             # bound of the critic's weights; 0 = none
    critic_augmentation: float = Field(0.0, ge=0, le=1)  # share of the critic's images, see models/augmentation.py
    augmentation_target: Fraction = 0.0               # of the critic's overfitting; > 0 = the share adapts to it (ADA)
    optimiser: Literal["adam", "rmsprop"] = "adam"
    adam_beta1: Fraction = 0.0
    adam_beta2: Fraction = 0.9
    ema_decay: float = Field(0.999, ge=0, lt=1)       # per generator step
    gan_flip: bool = True                             # mirror the real images
    precision: Literal["float32", "bfloat16"] = "float32"
    tf32: bool = False                                # of a GPU's float32 products
    feature_extractor: Literal["inception", "efficientnet_lite0", "dinov2"] = "efficientnet_lite0"
    measure_fid: bool = True                          # measured at the end, where Inception's weights are at hand
    eval_images: int = Field(256, ge=16)              # synthetic images per Frechet distance
    training_fraction: float = Field(1.0, gt=0, le=1) # of the training groups
    positive_fraction: float = Field(1.0, gt=0, le=1) # of those among them that hold a positive image
    pretraining: Literal["none", "unlabelled"] = "none"  # half of the training, on images of all training groups
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self):
        if self.pretrained and (self.backbone == "plain" or self.backbone_width != 1 or self.backbone_depth != 1):
            raise ValueError("pretrained needs an EfficientNetV2 backbone with backbone_width=1 and backbone_depth=1")
        return self

    @model_validator(mode="after")
    def _starts_from_something(self):
        if self.gan_epochs == 0 and self.generator != "principal":
            raise ValueError("gan_epochs=0 needs generator=principal: others make noise before they are trained")
        return self

    @model_validator(mode="after")
    def _has_epochs_to_halve(self):
        if self.pretraining != "none" and self.gan_epochs < 2:
            raise ValueError(
                f"pretraining={self.pretraining} needs gan_epochs of at least 2: the first half of them shows images "
                "without labels; train longer, or set pretraining=none"
            )
        return self

    @model_validator(mode="after")
    def _can_be_penalised(self):
        if self.critic == "batch_norm" and self.penalty_weight:
            raise ValueError("critic=batch_norm needs penalty_weight=0: its score of an image depends on the batch")
        if self.critic == "projected" and self.penalty_weight:
            raise ValueError("critic=projected needs penalty_weight=0: its spectral norm bounds its slope already")
        return self

    @model_validator(mode="after")
    def _is_not_judged_by_its_critic(self):
        if self.critic_network == self.feature_extractor:
            raise ValueError(
                f"critic=projected with critic_features={self.critic_features} needs another feature_extractor: a "
                "distance in the features it was trained on is no measure; set critic_features=efficientnet_lite1, or "
                "feature_extractor=inception"
            )
        return self

    @model_validator(mode="after")
    def _flows_by_its_own_objective(self):
        if (self.generator == "flow") != (self.gan_objective == "flow_matching"):
            raise ValueError("generator=flow and gan_objective=flow_matching need each other: neither has a critic")
        return self

    @model_validator(mode="after")
    def _learns_a_pyramid_level_by_level(self):
        if (self.generator == "laplacian") != (self.critic == "laplacian"):
            raise ValueError("generator=laplacian and critic=laplacian need each other: each has the other's levels")
        if self.critic == "laplacian" and (self.penalty_weight or self.augments):
            raise ValueError(
                "critic=laplacian needs penalty_weight=0, critic_augmentation=0 and augmentation_target=0: it judges "
                "residuals beside coarser images, which neither would change alike"
            )
        return self

    @property
    def critic_network(self) -> str | None:
        """The pretrained network whose features the critic sees: none of its distances may judge the GAN."""
        return self.critic_features if self.critic == "projected" else None

    @property
    def z_dim(self) -> int:
        """Length of the generator's input; some hold noise maps, too, the flow's is an image."""
        others = {
            "principal": self.latent_dim + self.image_size**2,
            "flow": 3 * self.image_size**2,
            "laplacian": self.latent_dim + 4 * (self.image_size**2 - 64) // 3,  # 16^2 + 32^2 + ... + image_size^2
        }
        return others.get(self.generator, self.latent_dim)

    @property
    def augments(self) -> bool:
        """Whether images are augmented for the critic, or may be."""
        return bool(self.critic_augmentation or self.augmentation_target)

    @property
    def system(self) -> str:
        """The name of the method: a row of `SYSTEMS`, or the paper's names for its own generators."""
        for name, fields in SYSTEMS.items():
            identity = PLAIN | {field: value for field, value in fields.items() if field in IDENTITY}
            if all(getattr(self, field) == value for field, value in identity.items()):
                return name
        if any(getattr(self, field) != value for field, value in PLAIN.items()):
            return f"{self.generator}_{self.gan_objective}"
        backbone = "" if self.backbone == "plain" else f"{self.backbone}_"
        return f"{backbone or 'wgan_gp_'}lstm" if self.lstm_depth else f"{backbone}wgan_gp"

    @property
    def in_words(self) -> str:
        """The GAN in a few words: a row of `SYSTEMS` by its name, the paper's by what the search varies."""
        if self.system in SYSTEMS:
            return self.system
        return f"{self.backbone} lstm {self.lstm_depth} gp {self.penalty_weight:g}"

    @property
    def known_epochs(self) -> int | None:
        """How many epochs the GAN is trained for; None where its time decides."""
        return None if self.gan_time_limit else self.gan_epochs

    @property
    def training_groups(self) -> tuple[float, int, float]:
        """Which training groups are used: the arguments of `data_utils.dataset.training_subset`."""
        return self.training_fraction, self.seed, self.positive_fraction

    @property
    def training_part(self) -> str:
        """Names the training groups that are used; empty for all."""
        if self.training_fraction == self.positive_fraction == 1:
            return ""
        positives = f"-{self.positive_fraction:g}positive" if self.positive_fraction < 1 else ""
        return f"-{self.training_fraction:g}{positives}-{self.seed}"

    @property
    def part_in_words(self) -> str:
        """`, 50% of the groups, 5% of the positive groups`; empty for the full set."""
        groups = f", {self.training_fraction:.0%} of the groups" if self.training_fraction < 1 else ""
        positives = f", {100 * self.positive_fraction:g}% of the positive groups" if self.positive_fraction < 1 else ""
        return groups + positives

    def gan_key(self, data_fingerprint: str, code_version: str) -> str:
        """16 hex digits that name the GAN these settings make of this data with this code."""
        settings = {name: getattr(self, name) for name in GanConfig.model_fields}
        identity = json.dumps([settings, data_fingerprint, code_version], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class TrialConfig(GanConfig):
    """A whole trial: the GAN, how its images are mixed in, and the classifier."""

    synthetic_ratio: float = Field(1.0, ge=0, le=10)  # synthetic images per real training image; 0 = real only
    training_images: Literal["real_and_synthetic", "synthetic_only"] = "real_and_synthetic"
    synthetic_kept: Rate = 1.0                        # share of the synthetic images that is kept, the most real ones
    oversampling: float = Field(0.0, ge=0, le=10)     # real images repeated, per real training image
    balance: Literal["none", "oversampled", "class_weights", "focal", "synthetic"] = "none"  # of unequal classes
    classifier_backbone: str = "small"                # or any timm backbone by name
    classifier_pretrained: bool = False
    classifier_frozen: bool = False                   # its features computed once, mirrored too
    classifier_width: Positive = 32
    classifier_lstm_width: Positive = 128
    classifier_lstm_depth: int = Field(2, ge=1, le=4)
    classifier_epochs: Positive = 60
    classifier_batch_size: Positive = 64              # over all workers of the trial
    classifier_seed: int = Field(0, ge=0)             # another one trains another classifier on the same images
    classifier_lr: Rate = 3e-4
    weight_decay: float = Field(1e-4, ge=0, le=1)
    dropout: Fraction = 0.2
    rotation: float = Field(20.0, ge=0, le=180)       # degrees, either way
    zoom: Fraction = 0.15                             # fraction, in or out
    contrast: Fraction = 0.2                          # fraction, up or down
    classifier_flip: bool = True                      # mirror half of the images

    @model_validator(mode="after")
    def _has_training_images(self):
        if self.training_images == "synthetic_only" and self.synthetic_ratio == 0:
            raise ValueError("training_images=synthetic_only needs synthetic_ratio above 0")
        if self.training_images == "synthetic_only" and self.oversampling:
            raise ValueError("training_images=synthetic_only needs oversampling=0: there are no real images to repeat")
        return self

    @model_validator(mode="after")
    def _is_balanced_in_one_way(self):
        real_only = self.training_images == "real_and_synthetic" and not (self.synthetic_ratio or self.oversampling)
        if self.balance != "none" and not real_only:
            raise ValueError(f"balance={self.balance} needs synthetic_ratio=0, oversampling=0 and no synthetic_only")
        return self

    @model_validator(mode="after")
    def _has_the_weights_it_asks_for(self):
        if self.classifier_pretrained and self.classifier_backbone == "small":
            raise ValueError(
                "classifier_pretrained=true needs a classifier_backbone with ImageNet weights, such as "
                "tf_efficientnet_lite0: small has none"
            )
        return self

    @model_validator(mode="after")
    def _can_be_frozen(self):
        if self.classifier_frozen and not self.classifier_pretrained:
            raise ValueError("classifier_frozen needs classifier_pretrained=true: it computes features once")
        if self.classifier_frozen and (self.rotation or self.zoom or self.contrast):
            raise ValueError("classifier_frozen computes features once: it needs rotation=0, zoom=0 and contrast=0")
        return self

    @property
    def uses_gan(self) -> bool:
        return self.synthetic_ratio > 0 or self.balance == "synthetic"

    @property
    def arm(self) -> str:
        """What the classifier is trained on."""
        kept = f"_kept_{self.synthetic_kept:g}" if self.uses_gan and self.synthetic_kept < 1 else ""
        if self.balance != "none":
            return f"real_balanced_{self.balance}{kept}"
        if self.training_images == "synthetic_only":
            return f"synthetic_only_{self.synthetic_ratio:g}{kept}"
        if self.uses_gan:
            return f"real_and_synthetic_{self.synthetic_ratio:g}{kept}"
        if self.oversampling:
            return f"real_oversampled_{self.oversampling:g}"
        augmented = self.rotation or self.zoom or self.contrast or self.classifier_flip
        return "real" if augmented else "real_unaugmented"

    @property
    def classifier(self) -> str:
        """The classifier's name: a row of `CLASSIFIERS`, or its backbone and how that begins."""
        for name, fields in CLASSIFIERS.items():
            if all(getattr(self, field) == value for field, value in fields.items()):
                return name
        weights = "_frozen" if self.classifier_frozen else "_pretrained" if self.classifier_pretrained else ""
        return f"{self.classifier_backbone}{weights}"

    @property
    def classifier_key(self) -> str:
        """8 hex digits of the fields that are equal in all arms of a comparison."""
        of_the_gan = set(GanConfig.model_fields) - {"image_size", "precision", "tf32"}
        shared = set(TrialConfig.model_fields) - of_the_gan - ARM_FIELDS
        settings = json.dumps({name: getattr(self, name) for name in sorted(shared)})
        return hashlib.sha256(settings.encode()).hexdigest()[:8]


# The fields that make one arm of a comparison different from another, or a repeat of it.
ARM_FIELDS = {
    "synthetic_ratio", "synthetic_kept", "training_images", "oversampling", "balance", "rotation", "zoom", "contrast",
    "classifier_flip", "classifier_seed",
}  # fmt: skip


# Classifiers beside a study's own, by name: the fields that each sets over the study's. Lite0 starts from ImageNet.
CLASSIFIERS = {
    "small":              {"classifier_backbone": "small",
                           "classifier_pretrained": False, "classifier_frozen": False},
    "efficientnet_lite0": {"classifier_backbone": "tf_efficientnet_lite0",
                           "classifier_pretrained": True, "classifier_frozen": False},
}  # fmt: skip

# One aligned row a setting. `smoke` ends in minutes on two cores; `search` is for one GPU or a workstation;
# `paper` holds the paper's settings at 128x128 for one 24 GB GPU.
PRESETS = {
    #  field                    smoke  search  paper
    "image_size":            (    32,     64,    128),
    "latent_dim":            (    64,    128,    256),
    "lstm_width":            (    64,    192,    368),
    "decoder_width":         (    64,    256,    256),
    "backbone_width":        (  0.25,    0.5,    1.0),
    "backbone_depth":        (   0.1,    0.5,    1.0),
    "critic_width":          (    48,     64,     64),
    "critic_steps":          (     3,      3,      5),
    "gan_batch_size":        (    32,     32,     64),
    "gan_epochs":            (    30,    150,    500),
    "gan_eval_interval":     (    10,     10,     20),
    "generator_lr":          (  1e-3,   2e-4,   1e-4),
    "critic_lr":             (  1e-3,   2e-4,   1e-4),
    "ema_decay":             (  0.99,  0.998,  0.999),
    "eval_images":           (    96,    320,   1024),
    "classifier_width":      (    16,     32,     32),
    "classifier_lstm_width": (    32,     96,    128),
    "classifier_epochs":     (    12,     40,     60),
    "classifier_batch_size": (    32,     32,     64),
    "classifier_lr":         (  2e-3,   1e-3,   3e-4),
}  # fmt: skip
PRESET_NAMES = ("smoke", "search", "paper")
DEFAULT_TRIALS = dict(zip(PRESET_NAMES, (9, 40, 40), strict=True))

OBJECTIVES = {  # name -> (column, direction) of each objective
    "pareto": (("frechet_distance", "minimize"), ("validation_auroc", "maximize")),
    "frechet": (("frechet_distance", "minimize"),),
    "auroc": (("validation_auroc", "maximize"),),
}


# Methods that a study trains beside those of its search: the fields that each sets over the preset. A row's place is in
# the ids of its trials, so new rows come last.
RELATIVISTIC = {
    "gan_objective": "relativistic", "penalty": "zero_centred", "penalty_weight": 1.0, "penalty_interval": 2,
    "critic_steps": 1, "gan_batch_size": 16, "generator_lr": 4e-4, "critic_lr": 4e-4, "adam_beta2": 0.99,
}  # fmt: skip
NON_SATURATING = {
    "gan_objective": "non_saturating", "penalty_weight": 0.0, "critic_steps": 1, "generator_lr": 2e-4,
    "critic_lr": 2e-4, "adam_beta1": 0.5, "adam_beta2": 0.999,
}  # fmt: skip
SYSTEMS = {
    # one Gaussian per class over the first 150 principal components: the reference, not trained
    "principal":     {"generator": "principal", "latent_dim": 150, "gan_epochs": 0, "pretraining": "none"},
    # several of them as a start, and what the relativistic objective adds to it (Huang et al. 2024)
    "principal_gan": {"generator": "principal", "latent_dim": 150, "gaussians": 16, **RELATIVISTIC},
    # the relativistic objective on the paper's networks without LSTM; longer steps reach the same distance sooner
    "r3gan":         {"generator": "recurrent", "lstm_depth": 0, "backbone": "plain", **RELATIVISTIC,
                      "generator_lr": 8e-4, "critic_lr": 8e-4},
    # the first one (Goodfellow et al. 2014), with the step sizes of Radford et al. 2016
    "gan":           {"generator": "recurrent", "lstm_depth": 0, "backbone": "plain", **NON_SATURATING},
    # clipped weights instead of a penalty (Arjovsky et al. 2017, algorithm 1)
    "wgan":          {"generator": "recurrent", "lstm_depth": 0, "backbone": "plain", "weight_clip": 0.01,
                      "penalty_weight": 0.0, "critic_steps": 5, "generator_lr": 5e-5, "critic_lr": 5e-5,
                      "optimiser": "rmsprop"},
    # batch norm in the critic, too (Radford et al. 2016)
    "dcgan":         {"generator": "recurrent", "lstm_depth": 0, "backbone": "plain", "critic": "batch_norm",
                      **NON_SATURATING},
    # modulated convolutions (Karras et al. 2020), R1 with gamma = 0.0002 * 64^2 / 32, and adaptive augmentation (Karras
    # et al. 2020b, appendix C); the critic's weights are not equalised, so its step is that of `gan`
    "stylegan2":     {"generator": "style", "decoder_width": 128, "gan_objective": "non_saturating", "penalty": "real",
                      "penalty_weight": 0.0256, "penalty_interval": 16, "critic_steps": 1, "gan_batch_size": 32,
                      "generator_lr": 2.5e-3, "critic_lr": 2e-4, "adam_beta2": 0.99, "augmentation_target": 0.6},
    # a critic on frozen features (Sauer et al. 2021), and FastGAN's generator (Liu et al. 2021); DiffAugment, as there
    "projected":     {"generator": "fast", "critic": "projected", "gan_objective": "hinge", "penalty_weight": 0.0,
                      "critic_steps": 1, "gan_batch_size": 16, "generator_lr": 2e-4, "critic_lr": 2e-4,
                      "adam_beta2": 0.99, "critic_augmentation": 1.0},
    # no critic: the velocity from noise to images is learnt (Lipman et al. 2023) and followed in ten evaluations
    "diffusion":     {"generator": "flow", "gan_objective": "flow_matching", "residual_width": 32, "gan_batch_size": 32,
                      "generator_lr": 1e-3, "adam_beta1": 0.9, "adam_beta2": 0.99, "ema_decay": 0.998},
    # a GAN for each level of a Laplacian pyramid (Denton et al. 2015); the steps of `gan` are too short for its first
    "lapgan":        {**NON_SATURATING, "generator": "laplacian", "critic": "laplacian", "decoder_width": 256,
                      "residual_width": 48, "gan_batch_size": 16, "generator_lr": 5e-4, "critic_lr": 5e-4,
                      "critic_augmentation": 0.0, "augmentation_target": 0.0},
}  # fmt: skip
# The paper's generators, and its ablation without LSTM, by the paper's names; lambda as in Gulrajani et al. 2017.
PAPER_SYSTEMS = {
    "wgan_gp_lstm":          {"backbone": "plain", "lstm_depth": 2, "penalty_weight": 10.0},
    "efficientnetv2_s_lstm": {"backbone": "efficientnetv2_s", "lstm_depth": 2, "penalty_weight": 10.0},
    "efficientnetv2_m_lstm": {"backbone": "efficientnetv2_m", "lstm_depth": 2, "penalty_weight": 10.0},
    "wgan_gp":               {"backbone": "plain", "lstm_depth": 0, "penalty_weight": 10.0},
}  # fmt: skip
ALL_SYSTEMS = PAPER_SYSTEMS | SYSTEMS
# The fields that make a system what it is, and those of them that say the same of every system that does not set them.
IDENTITY = ("generator", "critic", "gan_objective", "gan_epochs", "weight_clip", "backbone", "lstm_depth")
PLAIN = {name: GanConfig.model_fields[name].default for name in ("generator", "critic", "gan_objective", "weight_clip")}
# What a system does not take over from a study that sets it for its own GANs.
METHOD = PLAIN | {name: GanConfig.model_fields[name].default for name in ("penalty", "penalty_interval", "optimiser")}
DEFAULT_SYSTEMS = ("principal", "principal_gan")
SYSTEM_TRIAL = "system-"  # begins the id of a system's trial


def preset(name: str) -> dict:
    """The settings of a preset; raises ConfigError for an unknown name."""
    if name not in PRESET_NAMES:
        raise ConfigError(f"unknown preset {name!r}; there are: {', '.join(PRESET_NAMES)}")
    column = PRESET_NAMES.index(name)
    return {field: values[column] for field, values in PRESETS.items()}


def make_config(settings: dict) -> TrialConfig:
    """Validate settings; ConfigError names each bad field, and lists the valid ones for an unknown name."""
    unknown = sorted(set(settings) - set(TrialConfig.model_fields))
    if unknown:
        raise ConfigError(
            f"unknown field {', '.join(unknown)}; the fields are: {', '.join(TrialConfig.model_fields)}"
        )
    try:
        return TrialConfig(**settings)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_problem, error.errors()))) from None


def _problem(error: dict) -> str:
    """One of pydantic's errors in a line; an error about several fields names them itself."""
    message = error["msg"].removeprefix("Value error, ")
    return f"{error['loc'][0]}={error['input']}: {message}" if error["loc"] else message


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """`field=value` strings of `--set` -> settings as text; `make_config` turns the text into the field's type."""
    settings = {}
    for assignment in assignments:
        field, separator, value = assignment.partition("=")
        if not separator or not field or not value:
            raise ConfigError(f"--set {assignment!r} is not of the form field=value")
        settings[field] = value
    return settings
