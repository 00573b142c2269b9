"""What a benchmark runs: every system over seeds, each trained for as long or on as many images. No Ray here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.tables.schema import BENCHMARK
from study.config import GanConfig, TrialConfig
from study.search.confirmation import MIXED, arm_proposal, without_gan
from study.search.proposer import Proposal
from study.search.space import PAPER_RATIO, system_configs

UNLIMITED = 10**6  # epochs: the time limit ends the training


@dataclass(frozen=True)
class Budget:
    """What each GAN may cost: minutes of training, or real images seen by its critic. Just one of the two is set."""

    minutes: float | None = None
    images: int | None = None

    def __str__(self) -> str:
        return f"{self.minutes:g}min" if self.minutes else f"{self.images}images"

    def limits(self, num_train: int) -> dict:
        """The fields of the config that hold it; an epoch shows `num_train` images."""
        if self.minutes:
            return {"gan_epochs": UNLIMITED, "gan_time_limit": 60 * self.minutes}
        return {"gan_epochs": math.ceil(self.images / num_train), "gan_time_limit": 0.0}


def benchmark_plan(
    base: TrialConfig, systems: Sequence[str], num_seeds: int, budget: Budget, num_train: int, split: str
) -> list[Proposal]:
    """All trials of a benchmark, those that train a GAN first.

    Each system in the arms real + synthetic and synthetic only, ratio 1, beside real images alone and repeated ones.
    The classifier's fields are those of `base`. A system that is not trained stays so.
    """
    mixed, others = [], []
    for seed in range(base.seed + 1, base.seed + 1 + num_seeds):
        seeded = base.model_copy(update=MIXED | PAPER_RATIO | {"seed": seed})
        real = without_gan(seeded, base)
        for name, config in system_configs(base, systems).items():
            limits = budget.limits(num_train) if config.gan_epochs else {}
            gan = {field: getattr(config, field) for field in GanConfig.model_fields} | limits
            own = seeded.model_copy(update=gan | {"seed": seed})
            alone = own.model_copy(update={"training_images": "synthetic_only"})
            source = f"{name}-{budget}"
            mixed.append(arm_proposal(source, own, split, BENCHMARK))
            others.append(arm_proposal(source, alone, split, BENCHMARK))
        repeated = real.model_copy(update={"oversampling": seeded.synthetic_ratio})
        others += [arm_proposal(None, arm, split, BENCHMARK) for arm in (real, repeated)]
    return mixed + others


def cost_minutes(proposals: list[Proposal]) -> float:
    """Minutes of GAN training at most; 0 where epochs decide."""
    trained = {(proposal.columns["confirms"], proposal.config.seed): proposal.config for proposal in proposals}
    return sum(config.gan_time_limit / 60 for (source, _), config in trained.items() if source)
