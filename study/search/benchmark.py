"""What a benchmark runs: every system over seeds, each trained for as long or on as many images. No Ray here."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from results.tables.schema import BENCHMARK
from study.config import CLASSIFIERS, GanConfig, TrialConfig
from study.errors import ConfigError
from study.search.confirmation import MIXED, arm_proposal, without_gan
from study.search.proposer import Proposal
from study.search.space import PAPER_RATIO, system_configs

UNLIMITED = 10**6  # epochs: the time limit ends the training
WHOLE = {"training_fraction": 1.0, "positive_fraction": 1.0}
REMEDIES = ("none", "oversampled", "class_weights", "focal")  # for few positives, without synthetic images


@dataclass(frozen=True)
class Budget:
    """What each GAN may cost: minutes of training, or real images seen by its critic. Just one of the two is set."""

    minutes: float | None = None
    images: int | None = None

    def __str__(self) -> str:
        return f"{self.minutes:g}min" if self.minutes else f"{self.images}images"

    def limits(self, num_train: int, batch_size: int) -> dict:
        """The fields of the config that hold it; an epoch shows the whole batches of `num_train` images."""
        if self.minutes:
            return {"gan_epochs": UNLIMITED, "gan_time_limit": 60 * self.minutes}
        shown = max(num_train // batch_size, 1) * batch_size
        return {"gan_epochs": math.ceil(self.images / shown), "gan_time_limit": 0.0}


@dataclass(frozen=True)
class Arms:
    """Synthetic ratios of the arm real + synthetic, shares kept of filtered images, shares of the positive groups and
    fractions of all groups to which the training set is reduced in further arms, and names of classifiers with which
    all arms are run again."""

    ratios: tuple[float, ...] = (1.0,)
    kept: tuple[float, ...] = ()
    positives: tuple[float, ...] = ()
    fractions: tuple[float, ...] = ()
    classifiers: tuple[str, ...] = ()

    @property
    def parts(self) -> list[dict]:
        """The fields of each part of the training groups, all of them first."""
        parts = [{"positive_fraction": share} for share in self.positives]
        parts += [{"training_fraction": fraction} for fraction in self.fractions]
        return [WHOLE, *(WHOLE | part for part in parts)]

    def with_gan(self, config: TrialConfig) -> list[TrialConfig]:
        """The arms of a system, the one that trains the GAN first."""
        if config.positive_fraction < 1:
            return [config.model_copy(update={"synthetic_ratio": 0.0, "balance": "synthetic"})]
        mixed = [config.model_copy(update={"synthetic_ratio": ratio}) for ratio in self.ratios]
        if config.training_fraction < 1:
            return mixed
        few = min(mixed, key=lambda one: one.synthetic_ratio)
        filtered = [few.model_copy(update={"synthetic_kept": kept}) for kept in self.kept]
        return [*mixed, config.model_copy(update={"training_images": "synthetic_only"}), *filtered]

    def without_gan(self, real: TrialConfig) -> list[TrialConfig]:
        if real.positive_fraction < 1:
            return [real.model_copy(update={"balance": remedy}) for remedy in REMEDIES]
        return [real, *(real.model_copy(update={"oversampling": ratio}) for ratio in self.ratios)]

    def further_classifiers(self, base: TrialConfig) -> dict[str, dict]:
        """Name -> fields of the classifiers that are not the study's own."""
        return {name: CLASSIFIERS[name] for name in self.classifiers if name != base.classifier}


def benchmark_plan(
    base: TrialConfig,
    systems: Sequence[str],
    num_seeds: int,
    budget: Budget,
    num_train: Callable[[GanConfig], int],
    split: str,
    arms: Arms = Arms(),
) -> list[Proposal]:
    """All trials of a benchmark, those that train a GAN first.

    Each system in the arms real + synthetic of each ratio, synthetic only of ratio 1 and filtered of the lowest ratio,
    beside real images alone and repeated ones.
    With few positives: real images alone and with each of `REMEDIES`, and filled up by each system, whose GAN is
    trained on these few at the same cost.
    With few data: real images alone and repeated, and with synthetic images of each ratio, by a GAN of this part alone
    and by one that is first pretrained on all training images without their labels, at the same cost in total.
    The classifier's fields are those of `base`; all arms again, with the same GANs, for each further classifier. A
    system that is not trained stays so. `num_train`: training images of a config's part of the groups.
    Raises ConfigError where two trials would have one name, and where too few `images` are no two epochs of a part.
    """
    base = base.model_copy(update={"pretraining": "none"})  # only the arms that are named after it
    configs, training, others = system_configs(base, systems), [], []
    classifiers = {None: {}} | arms.further_classifiers(base)

    def trials(source: str | None, configs: list[TrialConfig]) -> list[Proposal]:
        return [
            arm_proposal(source, config.model_copy(update=fields), split, BENCHMARK, name)
            for name, fields in classifiers.items()
            for config in configs
        ]

    for seed in range(base.seed + 1, base.seed + 1 + num_seeds):
        seeded = base.model_copy(update=MIXED | PAPER_RATIO | {"synthetic_kept": 1.0, "seed": seed})
        real = without_gan(seeded, base)
        for part in arms.parts:
            part = part | {"seed": seed}
            images = num_train(seeded.model_copy(update=part))
            for name, config in configs.items():
                limits = budget.limits(images, config.gan_batch_size)
                gan = {field: getattr(config, field) for field in GanConfig.model_fields}
                own = seeded.model_copy(update=gan | (limits if config.gan_epochs else {}) | part)
                for suffix, trained in pretrained_too(own).items():
                    first, *more = trials(f"{name}-{budget}{suffix}", arms.with_gan(trained))
                    training.append(first)
                    others += more
            others += trials(None, arms.without_gan(real.model_copy(update=part)))
    proposals = training + others
    name, number = Counter(proposal.trial_id for proposal in proposals).most_common(1)[0]
    if number > 1:
        flags = "--ratios, --kept, --positives and --fractions"
        raise ConfigError(f"two trials would be named {name}; let {flags} differ by more")
    return proposals


def pretrained_too(config: TrialConfig) -> dict[str, TrialConfig]:
    """A GAN's config, and with few data that of the same GAN after a pretraining; by what the name ends in."""
    if config.training_fraction == 1 or not config.gan_epochs:
        return {"": config}
    if config.gan_epochs < 2:
        raise ConfigError(
            f"--images shows a GAN of training_fraction={config.training_fraction:g} all its images in one epoch, and "
            "a pretrained GAN needs two: use a larger --images, or smaller --fractions"
        )
    return {"": config, "-unlabelled": config.model_copy(update={"pretraining": "unlabelled"})}


def cost_minutes(proposals: list[Proposal]) -> float:
    """Minutes of GAN training at most; 0 where epochs decide."""
    configs = {(proposal.columns["confirms"], proposal.config.training_part, proposal.config.seed): proposal.config
               for proposal in proposals}  # fmt: skip
    return sum(config.gan_time_limit / 60 for (source, *_), config in configs.items() if source)
