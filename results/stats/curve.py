"""How far a GAN has come, by its latest measurements together: a single one wavers from epoch to epoch."""

from statistics import fmean

RECENT = 0.25  # of the epochs so far


def recent(curve: dict[int, float]) -> dict[int, float]:
    """Of a distance by epoch the part in the last quarter of the epochs so far; the last one at the least."""
    return {epoch: distance for epoch, distance in curve.items() if epoch >= (1 - RECENT) * max(curve)}


def recent_distance(curve: dict[int, float]) -> float:
    return fmean(recent(curve).values())
