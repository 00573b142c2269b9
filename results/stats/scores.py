"""The probabilities that one arm's classifiers give to one set of test images, from PREDICTIONS and TRIALS."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from results.stats.bootstrap import GroupBootstrap
from results.stats.weighted import weighted_auroc, weighted_metrics
from results.tables.schema import CONFIRMED, EVIDENCE, REPEATED
from results.tables.store import TableError

# What the seeds of one arm have in common; `oversampling` tells apart what the names of the arms do not.
ARM = [
    "study", "phase", "gan", "arm", "classifier_key", "split_protocol", "training_fraction", "positive_fraction",
    "oversampling",
]  # fmt: skip
CONDITION = ["corruption", "strength"]


@dataclass(frozen=True)
class ImageSet:
    """The images of one side under one split: ids, groups and labels (N,), and their resamples."""

    side: str
    ids: np.ndarray
    groups: np.ndarray
    labels: np.ndarray

    @cached_property
    def bootstrap(self) -> GroupBootstrap:
        return GroupBootstrap(self.groups)

    @property
    def counts(self) -> dict[str, int]:
        """The columns num_images, num_positive and num_groups."""
        return {
            "num_images": len(self.ids),
            "num_positive": int(self.labels.sum()),
            "num_groups": len(np.unique(self.groups)),
        }

    @property
    def groups_of_rarer_class(self) -> int:
        """In how many groups the class lies that lies in fewer."""
        return min(len(np.unique(self.groups[self.labels == label])) for label in (0, 1))

    def where(self, mask: np.ndarray) -> "ImageSet":
        return ImageSet(self.side, self.ids[mask], self.groups[mask], self.labels[mask])


@dataclass(frozen=True)
class Scores:
    """`probabilities` (S, N) that an arm's classifiers, of seeds (S,) and thresholds (S,), give to `images`.

    `arm` holds the columns `ARM`, `condition` the columns `CONDITION`; null is None.
    """

    arm: dict
    condition: dict
    images: ImageSet
    seeds: np.ndarray
    thresholds: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def resampled(self) -> dict[str, np.ndarray]:
        """Metrics by name, (S, 1 + G + B), under the weightings of `images.bootstrap`; AUROC alone if corrupted."""
        seeds = [
            self.images.bootstrap.measure(lambda weights, p=p, t=t: self._metrics(p, t, weights))
            for p, t in zip(self.probabilities, self.thresholds, strict=True)
        ]
        return {name: np.stack([seed[name] for seed in seeds]) for name in seeds[0]}

    @property
    def correct(self) -> np.ndarray:
        """Whether each classifier is right about each image at its own threshold: (S, N)."""
        return (self.probabilities >= self.thresholds[:, None]) == (self.images.labels == 1)

    def values(self, metric: str) -> np.ndarray:
        """A metric of each seed's classifier: (S,)."""
        once = np.ones((len(self.images.ids), 1))
        parts = zip(self.probabilities, self.thresholds, strict=True)
        return np.concatenate([self._metrics(*part, once)[metric] for part in parts])

    def _metrics(self, probabilities: np.ndarray, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
        if self.condition["corruption"] != "none":
            return {"auroc": weighted_auroc(self.images.labels, probabilities, weights)}
        return weighted_metrics(self.images.labels, probabilities, threshold, weights)

    def on(self, images: ImageSet, mask: np.ndarray) -> "Scores":
        """The same classifiers on the part `images` = `self.images.where(mask)`."""
        return replace(self, images=images, probabilities=self.probabilities[:, mask])


def collect_scores(predictions: pd.DataFrame, trials: pd.DataFrame) -> list[Scores]:
    """All arms under all conditions of the test and the external side, by confirmed trials.

    A side with images of one class only is left out. Where no trial is confirmed yet, each trial of the search is an
    arm of its own, and the GAN's name is the trial's id.
    Raises TableError where trials of one study were tested on different images, or one arm twice with one seed.
    """
    tested = predictions[predictions["side"] != "validation"].drop(columns=["study", "arm", "seed"])
    rows = tested.merge(_evidence(trials), on="trial_id")
    return [
        scores
        for (_, side), part in rows.groupby(["split_protocol", "side"], dropna=False)
        if part["label"].nunique() == 2
        for scores in _on_one_side(side, part)
    ]


def is_confirmed(trials: pd.DataFrame) -> bool:
    """Whether a trial of a confirmation has completed."""
    return bool((trials["phase"].isin(CONFIRMED) & (trials["status"] == "completed")).any())


def main_split(arms: list[Scores]) -> str | None:
    """The study's own split protocol, that of most arms: only the leakage gap uses the other one."""
    splits = [scores.arm["split_protocol"] for scores in arms]
    return max(sorted(set(splits)), key=splits.count, default=None)


def _evidence(trials: pd.DataFrame) -> pd.DataFrame:
    """Of each completed trial that counts: its id, seed, threshold and the columns `ARM`."""
    columns = ["trial_id", "seed", "threshold", "confirms", *(name for name in ARM if name != "gan")]
    completed = trials.loc[trials["status"] == "completed", columns]
    evidence = completed[completed["phase"].isin(EVIDENCE)].assign(gan=completed["confirms"])
    if not is_confirmed(trials):
        single = completed[~completed["phase"].isin(REPEATED)]
        single = single.assign(gan=single["trial_id"].where(single["phase"] != "baseline", None))
        evidence = pd.concat([single, evidence])
    return evidence.drop(columns="confirms")


def _on_one_side(side: str, rows: pd.DataFrame) -> Iterator[Scores]:
    rows = rows.sort_values(["trial_id", *CONDITION, "image_id"], ignore_index=True)
    num_images = rows["image_id"].nunique()
    for (trial, *_), part in rows.groupby(["trial_id", *CONDITION]):
        if not len(part) == part["image_id"].nunique() == num_images:
            raise TableError(
                f"predictions of {trial}: {len(part)} images on side {side}, other trials of the study have "
                f"{num_images}; put trials on other data or another split into a study of their own"
            )
    first, conditions = rows[:num_images], rows[::num_images].reset_index(drop=True)
    images = ImageSet(side, *(first[name].to_numpy() for name in ("image_id", "group", "label")))
    probabilities = rows["probability"].to_numpy().reshape(-1, num_images)
    for key, part in conditions.groupby([*ARM, *CONDITION], dropna=False):
        if part["seed"].duplicated().any():
            raise TableError(f"{', '.join(part['trial_id'])}: the same arm and seed twice; move one row out of trials/")
        values = [None if pd.isna(value) else value for value in key]
        yield Scores(
            dict(zip(ARM, values, strict=False)),
            dict(zip(CONDITION, values[len(ARM) :], strict=True)),
            images,
            part["seed"].to_numpy(),
            part["threshold"].to_numpy(),
            probabilities[part.index],
        )
