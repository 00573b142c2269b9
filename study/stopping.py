"""When a GAN of the search is stopped: asynchronous successive halving (ASHA, Li et al. 2020, algorithm 2).

Two things differ from Ray's ASHA. The first milestone, the grace, follows from how well early distances order the GANs
that were trained to their end, the paper's among them. And a GAN counts once, however many trials use it: a search that
uses its best GANs again would else raise the bar for new ones with each use.
"""

import math
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

ENOUGH_FINISHED = 4  # GANs, before which the grace is a guess
STABLE = 0.75        # of the differences at the end, the part that an early order must have right
FACTOR = 2           # from one milestone to the next; one GAN in so many goes on


@dataclass
class Halving:
    """Judges GANs by their Frechet distances: at each milestone the worse half is to stop."""

    last_epoch: int
    interval: int  # epochs from one measurement to the next
    curves: dict[str, dict[int, float]] = field(default_factory=dict)  # by GAN and epoch

    def is_worse(self, gan: str, epoch: int, distance: float) -> bool:
        """Hear a measurement; whether the GAN then belongs to the worse half of those that got as far.

        Never so for a GAN that was trained to its end before, of which a measurement is repeated.
        """
        curve = self.curves.setdefault(gan, {})
        curve[epoch] = distance
        if self.last_epoch in curve or epoch not in self.milestones():
            return False
        return curve[epoch] > np.median([other[epoch] for other in self.curves.values() if epoch in other])

    def milestones(self) -> list[int]:
        """The epochs at which GANs are judged, before the last."""
        epochs, epoch = [], self.grace()
        while epoch < self.last_epoch:
            epochs.append(epoch)
            epoch *= FACTOR
        return epochs

    def grace(self) -> int:
        """The first measured epoch from which on the finished GANs keep their order, at most half of all epochs.

        While too few have finished: a quarter of the epochs, but two measurements.
        """
        half = self._measured(self.last_epoch / 2)
        finished = [curve for curve in self.curves.values() if self.last_epoch in curve]
        if len(finished) < ENOUGH_FINISHED:
            return min(half, max(self._measured(self.last_epoch / 4), 2 * self.interval))
        grace = half
        while grace > self.interval and order_kept(finished, grace - self.interval, self.last_epoch) >= STABLE:
            grace -= self.interval
        return grace

    def _measured(self, epoch: float) -> int:
        """The next epoch that is measured."""
        return max(1, math.ceil(epoch / self.interval)) * self.interval


def order_kept(curves: list[dict[int, float]], early: int, late: int) -> float:
    """How much of the pairs' differences at `late` lies in pairs that have the same order at `early`, from 0 to 1."""
    kept = total = 0.0
    for a, b in combinations(curves, 2):
        difference = a[late] - b[late]
        total += abs(difference)
        kept += abs(difference) * ((a[early] - b[early]) * difference > 0)
    return kept / total if total else 0.0
