"""The search space as data, and the paper's own configurations, which are tried first.

Scientific parameters answer the study's question, and each of their values gets its share (see `proposer.py`); nuisance
parameters are tuned only to make the comparison fair (the terms are those of Google's tuning playbook). All parameters
of the generator are discrete, so that trials often agree in them and share one GAN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from study.config import ALL_SYSTEMS, METHOD, PAPER_SYSTEMS, GanConfig, TrialConfig, make_config


@dataclass(frozen=True)
class Choice:
    """One of `values`; with `relative`, multiples of the preset's value."""

    values: tuple
    relative: bool = False

    def distribution(self, preset_value) -> CategoricalDistribution:
        return CategoricalDistribution([v * preset_value for v in self.values] if self.relative else self.values)


@dataclass(frozen=True)
class Range:
    """A number between `low` and `high`; with `relative`, multiples of the preset's value on a log scale."""

    low: float
    high: float
    relative: bool = False

    def distribution(self, preset_value) -> FloatDistribution:
        scale = preset_value if self.relative else 1.0
        return FloatDistribution(self.low * scale, self.high * scale, log=self.relative)


SCIENTIFIC = {
    "backbone":        Choice(("plain", "efficientnetv2_s", "efficientnetv2_m")),
    "lstm_depth":      Choice((0, 1, 2, 3, 4)),
    "penalty_weight":  Choice((1.0, 5.0, 10.0, 20.0)),
    "synthetic_ratio": Choice((0.25, 0.5, 1.0, 2.0)),
}  # fmt: skip
NUISANCE = {
    "generator_lr":    Choice((0.5, 1.0, 2.0), relative=True),
    "critic_lr":       Choice((0.5, 1.0, 2.0), relative=True),
    "classifier_lr":   Range(1 / 3, 3.0, relative=True),
    "dropout":         Range(0.0, 0.5),
}  # fmt: skip
SPACE = SCIENTIFIC | NUISANCE

PAPER_RATIO = {"synthetic_ratio": 1.0}


def system_configs(base: TrialConfig, names: Sequence[str]) -> dict[str, TrialConfig]:
    """The systems of these names over `base`, whatever `--set` fixed of their own fields and of the method: name ->
    config."""
    return {name: make_config(base.model_dump() | METHOD | ALL_SYSTEMS[name]) for name in names}


def searched(fixed: dict) -> dict:
    """The parameters that `--set` leaves free."""
    return {name: domain for name, domain in SPACE.items() if name not in fixed}


def distributions(base: TrialConfig, fixed: dict) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter that `--set` leaves free, around the values of `base`."""
    return {name: domain.distribution(getattr(base, name)) for name, domain in searched(fixed).items()}


def system_distributions(space: dict[str, BaseDistribution], systems: Sequence[str]) -> dict[str, BaseDistribution]:
    """The parameters of a trial that uses a trained system: which, and those of `space` that no GAN depends on."""
    rest = {name: domain for name, domain in space.items() if name not in GanConfig.model_fields}
    return {"system": CategoricalDistribution(systems), **rest} if systems else rest


def generator_side(parameters: dict) -> dict:
    """The parameters that decide the GAN."""
    return {name: value for name, value in parameters.items() if name in GanConfig.model_fields or name == "system"}


def key_of(parameters: dict) -> tuple:
    """The same for equal parameters, whatever their order."""
    return tuple(sorted(parameters.items()))


def gan_of(parameters: dict) -> tuple:
    """The same for the parameters of trials that share a GAN."""
    return key_of(generator_side(parameters))


def paper_configurations(base: TrialConfig, fixed: dict) -> list[dict]:
    """The paper's configurations as values for every free parameter, without repeats; nuisance values are `base`'s."""
    free = searched(fixed)
    configurations = []
    for paper in PAPER_SYSTEMS.values():
        values = {name: (PAPER_RATIO | paper).get(name, getattr(base, name)) for name in free}
        if values not in configurations:
            configurations.append(values)
    return configurations
