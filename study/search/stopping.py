"""When a GAN of the search is stopped: asynchronous successive halving (ASHA, Li et al. 2020, algorithm 2).

Two things differ from Ray's ASHA. The first milestone, the grace, follows from how well early distances order the GANs
that were trained to their end, the paper's among them. And a GAN counts once, however many trials use it: a search that
uses its best GANs again would else raise the bar for new ones with each use.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from results.stats.curve import recent
from results.tables.store import read_history
from study.config import SYSTEM_TRIAL

ENOUGH_FINISHED = 4  # GANs, before which the grace is a guess
REMEMBERED = 100     # of the finished GANs, the latest from which the grace is taken
STABLE = 0.75        # of the differences at the end, the part that an early order must have right
FACTOR = 2           # from one milestone to the next; one GAN in so many goes on


@dataclass
class Halving:
    """Judges GANs by their Frechet distances: at each milestone the worse half is to stop."""

    last_epoch: int
    interval: int  # epochs from one measurement to the next
    curves: dict[str, dict[int, float]] = field(default_factory=dict)  # by GAN and epoch

    def __post_init__(self):
        self.grace = self.find_grace()

    def is_worse(self, gan: str, epoch: int, distance: float) -> bool:
        """Record a measurement; returns whether the GAN is now in the worse half of those that got as far.

        Never true for one that the GAN has left behind: measurements are repeated where it is used again or goes on.
        """
        curve = self.curves.setdefault(gan, {})
        finished_before = self.last_epoch in curve
        curve[epoch] = distance
        if epoch == self.last_epoch and not finished_before:
            self.grace = self.find_grace()
        if self.last_epoch in curve or epoch < max(curve) or epoch not in self.milestones():
            return False
        return curve[epoch] > np.median([other[epoch] for other in self.curves.values() if epoch in other])

    def milestones(self) -> list[int]:
        """The epochs at which GANs are judged, before the last."""
        epochs, epoch = [], self.grace
        while epoch < self.last_epoch:
            epochs.append(epoch)
            epoch *= FACTOR
        return epochs

    def find_grace(self) -> int:
        """The first measured epoch from which on the finished GANs keep their order, at most half of all epochs.

        While too few have finished: a quarter of the epochs, but two measurements.
        """
        half = self._measured(self.last_epoch / 2)
        epochs = [*range(self.interval, half, self.interval), self.last_epoch]
        finished = [curve for curve in self.curves.values() if curve.keys() >= set(epochs)][-REMEMBERED:]
        if len(finished) < ENOUGH_FINISHED:
            return min(half, max(self._measured(self.last_epoch / 4), 2 * self.interval))
        distances = {epoch: np.array([curve[epoch] for curve in finished]) for epoch in epochs}
        grace = half
        while grace > self.interval:
            if order_kept(distances[grace - self.interval], distances[self.last_epoch]) < STABLE:
                break
            grace -= self.interval
        return grace

    def expected_ends(self) -> dict[str, float]:
        """The distance at which each GAN would end if it lost from now on what the finished ones lost on average.

        Empty while none has finished.
        """
        finished = [curve for curve in self.curves.values() if self.last_epoch in curve][-REMEMBERED:]
        epochs = set.intersection(*map(set, finished)) if finished else set()
        typical = {epoch: np.mean([curve[epoch] for curve in finished]) for epoch in epochs}
        ends = {}
        for gan, curve in self.curves.items():
            ratios = [distance / typical[epoch] for epoch, distance in recent(curve).items() if epoch in typical]
            if ratios:
                ends[gan] = float(np.mean(ratios) * typical[self.last_epoch])
        return ends

    def _measured(self, epoch: float) -> int:
        """The first measured epoch from this one on."""
        return max(1, math.ceil(epoch / self.interval)) * self.interval


def measured_curves(study: Path) -> dict[str, dict[int, float]]:
    """Frechet distance by epoch of each GAN that the search has measured so far.

    Those of systems, confirmations and benchmarks are no standard for it: other methods, seeds, costs and data.
    """
    history = read_history(study).dropna(subset=["gan_key", "frechet_distance"])
    of_systems = history.loc[history["trial_id"].str.startswith(SYSTEM_TRIAL), "gan_key"]
    of_the_search = history["trial_id"].str.startswith(("paper-", "search-"))
    history = history[of_the_search & ~history["gan_key"].isin(of_systems)]
    rows = zip(history["gan_key"], history["epoch"], history["frechet_distance"], strict=True)
    curves: dict[str, dict[int, float]] = {}
    for gan, epoch, distance in rows:
        curves.setdefault(gan, {})[int(epoch)] = distance
    return curves


def order_kept(early: np.ndarray, late: np.ndarray) -> float:
    """The part, from 0 to 1, of the pairs' differences at `late` that lies in pairs with the same order at `early`.

    Both (n,), distances of the same GANs.
    """
    differences = late[:, None] - late
    kept = (early[:, None] - early) * differences > 0
    total = np.abs(differences).sum()
    return float(np.abs(differences)[kept].sum() / total) if total else 0.0
