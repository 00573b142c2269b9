"""What a confirmation runs: a search's GANs again, with new seeds and in several arms. No Ray here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from results.leaderboard import leaderboard
from results.stats.evidence import JUDGED_ARMS
from study.config import GanConfig, TrialConfig
from study.errors import ConfigError
from study.search.proposer import Proposal

NO_AUGMENTATION = {"rotation": 0.0, "zoom": 0.0, "contrast": 0.0, "classifier_flip": False}
MIXED = {"training_images": "real_and_synthetic", "oversampling": 0.0}
FIRST_JUDGING_SEED = 1000  # above the study's own: no number of choosing seeds reaches them
OTHER_SPLIT = {"grouped": "random", "random": "grouped", "given": "random"}


@dataclass(frozen=True)
class Protocol:
    """How much is confirmed: seeds of every arm, synthetic ratios besides the trial's own, fractions of the training
    groups, whether some arms also run under the other split, and seeds of the chosen arm alone, which judge it."""

    num_seeds: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5)
    other_split: bool = True
    num_judging: int = 5

    @property
    def num_judging_trials(self) -> int:
        return JUDGED_ARMS * self.num_judging


def choose_trials(trials: pd.DataFrame, objective: str, top: int, names: list[str] | None) -> list[str]:
    """Ids of the trials to confirm: the `top` by validation, then the paper's configurations; or exactly `names`.

    Raises ConfigError for a name that is no completed trial with a GAN, and for a search without such a trial.
    """
    ranked = leaderboard(trials, objective)
    with_gan = ranked["phase"].isin(["paper", "search", "system"]) & ranked["rank"].gt(0).fillna(False)
    order = ranked.loc[with_gan, "trial_id"].to_list()
    if unknown := sorted(set(names or []) - set(order)):
        known = " ".join(order) or "none"
        raise ConfigError(f"--trials {' '.join(unknown)}: no completed trial with a GAN; there are: {known}")
    if not order:
        raise ConfigError("the study has no completed trial with a GAN to confirm; go on with run_sweep.py --resume")
    papers = [name for name in order[top:] if name.startswith("paper")]
    return list(dict.fromkeys(names)) if names else order[:top] + papers


def plan(
    sources: dict[str, TrialConfig],
    base: TrialConfig,
    protocol: Protocol,
    split: str,
    num_train: Callable[[GanConfig], int],
) -> list[Proposal]:
    """All trials of a confirmation, those that train a GAN first, so that trials at the same time train different ones.

    `sources`: id of the confirmed trial -> its config; the first one also gets the few-data curve and the arms under
    the other split than `split`. `num_train`: training images of a config's part of the groups.
    A source's GAN and ratio are confirmed; the classifier's fields are those of `base` throughout, so that GANs are
    compared with each other and share the arms without a GAN. Seeds are new: a trial was chosen for its luck with the
    old one.
    """
    training, others = {}, {}
    for number, (source, config) in enumerate(sources.items()):
        for seed in range(base.seed + 1, base.seed + 1 + protocol.num_seeds):
            gan = {name: getattr(config, name) for name in GanConfig.model_fields}
            own = {"seed": seed, "synthetic_ratio": config.synthetic_ratio}
            seeded = base.model_copy(update=gan | MIXED | own)
            for proposal in _arms(source, seeded, base, protocol, split):
                _sort_in(proposal, config.synthetic_ratio, training, others)
            more = _few_data_and_leakage(source, seeded, base, protocol, split, num_train) if number == 0 else ()
            for proposal in more:
                _sort_in(proposal, config.synthetic_ratio, training, others)
    return [*training.values(), *others.values()]


def judgement(source: str, config: TrialConfig, base: TrialConfig, num_judging: int, split: str) -> list[Proposal]:
    """The trials that judge the chosen arm: itself, real images, and repeated real images for as many steps.

    `config`: any trial of the arm. The seeds are none of those that the arm was chosen with: what was lucky on
    validation then is lucky on test, too.
    """
    proposals = []
    for seed in range(base.seed + FIRST_JUDGING_SEED, base.seed + FIRST_JUDGING_SEED + num_judging):
        seeded = config.model_copy(update={"seed": seed})
        real = without_gan(seeded, base)
        repeated = real.model_copy(update={"oversampling": config.synthetic_ratio})
        arms = ((source, seeded), (None, real), (None, repeated))
        proposals += [arm_proposal(name, arm, split, "judge", num_judging_seeds=num_judging) for name, arm in arms]
    return proposals


def distinct_gans(sources: dict[str, TrialConfig]) -> dict[str, TrialConfig]:
    """The first source of each GAN: the search tries a GAN with several ratios."""
    first: dict[tuple, str] = {}
    for name, config in sources.items():
        first.setdefault(tuple(getattr(config, field) for field in GanConfig.model_fields), name)
    return {name: sources[name] for name in first.values()}


def _sort_in(proposal: Proposal, ratio: float, training: dict, others: dict) -> None:
    config = proposal.config
    trains = config.synthetic_ratio == ratio and config.training_images == "real_and_synthetic"
    found = (training if trains else others).setdefault(proposal.trial_id, proposal)
    if found.config != config:
        raise ConfigError(f"two trials would be named {proposal.trial_id}; let --ratios and --fractions differ by more")


def _arms(source: str, config: TrialConfig, base: TrialConfig, protocol: Protocol, split: str) -> list[Proposal]:
    ratio, real = config.synthetic_ratio, without_gan(config, base)
    ratios = sorted({*protocol.ratios, ratio})
    synthetic = [config.model_copy(update={"synthetic_ratio": r}) for r in ratios]
    return [
        *(arm_proposal(source, c, split) for c in synthetic),
        arm_proposal(source, config.model_copy(update={"training_images": "synthetic_only"}), split),
        arm_proposal(None, real, split),
        arm_proposal(None, real.model_copy(update=NO_AUGMENTATION), split),
        *(arm_proposal(None, real.model_copy(update={"oversampling": r}), split) for r in ratios),
    ]


def _few_data_and_leakage(
    source: str,
    config: TrialConfig,
    base: TrialConfig,
    protocol: Protocol,
    split: str,
    num_train: Callable[[GanConfig], int],
) -> list[Proposal]:
    real = without_gan(config, base)
    repeated = real.model_copy(update={"oversampling": config.synthetic_ratio})
    arms = [(source, config), (None, real), (None, repeated)]
    parts = [
        arm_proposal(name, of_part(arm, fraction, num_train), split)
        for fraction in protocol.fractions
        for name, arm in arms
    ]
    leakage = [arm_proposal(name, arm, OTHER_SPLIT[split]) for name, arm in arms[:2]] if protocol.other_split else []
    return parts + leakage


def of_part(config: TrialConfig, fraction: float, num_train: Callable[[GanConfig], int]) -> TrialConfig:
    """The same trial on a part of the groups, its GAN trained for no fewer steps than on all, unless a time limit ends
    it: an epoch is the whole batches of the part."""
    part = config.model_copy(update={"training_fraction": fraction})
    if not (config.uses_gan and config.gan_epochs):
        return part
    batches, of_the_part = (max(1, num_train(one) // one.gan_batch_size) for one in (config, part))
    fields = ("gan_epochs", "gan_eval_interval")
    return part.model_copy(update={name: math.ceil(getattr(config, name) * batches / of_the_part) for name in fields})


def without_gan(config: TrialConfig, base: TrialConfig) -> TrialConfig:
    """Real images only; the unused GAN's fields are those of `base`, so that equal arms have equal configs."""
    generator_side = {name: getattr(base, name) for name in GanConfig.model_fields}
    return config.model_copy(update=generator_side | {"seed": config.seed, "synthetic_ratio": 0.0})


def arm_proposal(
    source: str | None, config: TrialConfig, split: str, phase: str = "confirm", other: str | None = None, **columns
) -> Proposal:
    """A trial of one arm; `source` names its GAN, and `other` its classifier where that is not the study's own."""
    part = f"-{100 * config.training_fraction:.12g}pct" if config.training_fraction < 1 else ""
    part += f"-{100 * config.positive_fraction:.12g}pct_positive" if config.positive_fraction < 1 else ""
    part += f"-{other}" if other else ""
    name = f"{phase}-{source or config.classifier_key}-{config.arm}{part}-{split}-s{config.seed}"
    return Proposal(name, phase, None, config, columns={"confirms": source, "split_protocol": split} | columns)
