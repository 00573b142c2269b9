"""A simulated study: what each setting is worth, and how a GAN's Frechet distance falls, as in recorded trainings."""

import numpy as np

from results.stats.curve import recent_distance
from study.config import TrialConfig
from study.search import space
from study.search.space import NUISANCE, SPACE, Choice
from study.training.seeds import derive_seed

# log distance = end - slope * log(epoch / last epoch) + noise, fitted by least squares to 19 GANs of 60 to 300 epochs
# (13 on real patches at 32 px, two at 64 px, four on the sample data): mean and deviation over GANs.
RECORDED = {
    "slope": (0.161, 0.060),
    "noise": (0.058, 0.025),   # deviation of what the fit leaves, correlated from one measurement to the next:
    "autocorrelation": 0.34,
    "seed": 0.047,             # deviation of the end over seeds of one configuration (4 and 7 GANs)
    "configuration": 0.09,     # the same over configurations (three backbones, with and without LSTM)
    "classifier_epoch": 0.12,  # GAN epochs that one costs, for each real or synthetic image there is to a real one
}  # fmt: skip
# Shares of the variance of a trial's validation score. Recorded: on real patches (logit AUROC of two GANs, three seeds,
# three ratios) GAN 0.35, its seed 0.15, ratio 0.15, the rest 0.35; on the sample data (four GANs twice, with another
# ratio and classifier) GAN 0, the rest 1. "diagnosis" lies between; "distance" is the search for the lowest distance.
WORTH = {
    "diagnosis": {"gan": 0.30, "synthetic_ratio": 0.15, "classifier": 0.25, "noise": 0.30},
    "distance":  {"gan": 1.00, "synthetic_ratio": 0.00, "classifier": 0.00, "noise": 0.00},
}  # fmt: skip
GAN_SETTINGS = ("backbone", "lstm_depth", "penalty_weight", "generator_lr", "critic_lr")


class Landscape:
    """What one simulated study's settings are worth."""

    def __init__(self, seed: int, base: TrialConfig, worth: dict[str, float]):
        self.seed, self.base, self.worth = seed, base, worth
        draws = np.random.default_rng([seed, 0])
        self.effects = {
            name: dict(zip(domain.values, effects(draws, domain), strict=True))
            for name, domain in SPACE.items()
            if isinstance(domain, Choice)
        }
        self.optimum = {"classifier_lr": draws.uniform(-1, 1), "dropout": draws.uniform(-1, 1)}
        self.noise = np.random.default_rng([seed, 1])

    def gan_merit(self, config: TrialConfig) -> float:
        """The GAN's worth in deviations over configurations: equal parts of its settings, and of their meeting."""
        parts = [self.effects[name][self._level(config, name)] for name in GAN_SETTINGS]
        return (sum(parts) + self._own(config, "meeting").normal()) / np.sqrt(len(parts) + 1)

    def quality(self, config: TrialConfig) -> float:
        """A trial's worth without noise."""
        classifier = -sum(self._distance_from_optimum(config, name) for name in self.optimum)
        ratio = self.effects["synthetic_ratio"][config.synthetic_ratio]
        parts = {"gan": self.gan_merit(config), "synthetic_ratio": ratio, "classifier": classifier}
        return sum(value * np.sqrt(self.worth[name]) for name, value in parts.items())

    def curve(self, config: TrialConfig) -> dict[int, float]:
        """The GAN's distance at each measurement, by epoch; the same for equal settings."""
        own = self._own(config, "curve")
        epochs = np.arange(config.gan_eval_interval, config.gan_epochs + 1, config.gan_eval_interval)
        scale, correlation = max(0.02, own.normal(*RECORDED["noise"])), RECORDED["autocorrelation"]
        noise = own.normal(0, scale, len(epochs))
        for step in range(1, len(noise)):
            noise[step] = correlation * noise[step - 1] + np.sqrt(1 - correlation**2) * noise[step]
        end = 5 - RECORDED["configuration"] * self.gan_merit(config) + own.normal(0, RECORDED["seed"])
        slope = max(0.0, own.normal(*RECORDED["slope"]))
        distances = np.exp(end - slope * np.log(epochs / config.gan_epochs) + noise)
        return dict(zip(epochs.tolist(), distances.tolist(), strict=True))

    def measured(self, config: TrialConfig) -> dict:
        """A finished trial's result columns; the luck of its GAN's training is in both."""
        curve = self.curve(config)
        distance = curve[config.gan_epochs]
        luck = (5 - np.log(distance)) / RECORDED["configuration"] - self.gan_merit(config)
        noise = self.noise.normal() * np.sqrt(self.worth["noise"])
        score = self.quality(config) + luck * np.sqrt(self.worth["gan"]) + noise
        distances = {"frechet_distance": distance, "frechet_recent": recent_distance(curve)}
        return distances | {"validation_auroc": float(score)}

    def _level(self, config: TrialConfig, name: str):
        value = getattr(config, name)
        return round(value / getattr(self.base, name), 6) if name in NUISANCE else value

    def _distance_from_optimum(self, config: TrialConfig, name: str) -> float:
        """Squared, on a range scaled to (-1, 1); the sum over both has a deviation of about 1."""
        if name == "classifier_lr":
            place = np.log(config.classifier_lr / self.base.classifier_lr) / np.log(NUISANCE[name].high)
        else:
            place = (config.dropout - 0.25) / 0.25
        return (place - self.optimum[name]) ** 2

    def _own(self, config: TrialConfig, use: str) -> np.random.Generator:
        """Random numbers that belong to a GAN's settings."""
        return np.random.default_rng(derive_seed(self.seed, use, *map(str, gan_of(config))))


def effects(draws: np.random.Generator, domain: Choice) -> np.ndarray:
    """What each value is worth, mean 0 and deviation 1: numbers have one best place, names are drawn at random."""
    if isinstance(domain.values[0], str):
        values = draws.normal(size=len(domain.values))
    else:
        values = -((np.linspace(-1, 1, len(domain.values)) - draws.uniform(-1, 1)) ** 2)
    return (values - values.mean()) / values.std()


def gan_of(config: TrialConfig) -> tuple:
    return space.gan_of(config.model_dump())
