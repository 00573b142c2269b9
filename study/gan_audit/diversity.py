"""How different a generator's images are from each other, and whether it has collapsed to one or a few images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from study.gan_audit.copying import as_vectors

# Relative to real images. Blurred and noisy photographs and seven of eight GANs stayed well above. One image with noise
# had 0.05 (pixels) and 0.2 (features) of the real images' mean distance. The eighth GAN, whose images visibly repeat a
# few motifs, had 0.2 of their separation.
LEAST_DIVERSITY = 0.5
LEAST_SEPARATION = 0.25
COARSE = 8  # pixels a side of the images in which noise is averaged out


def coarse(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) -> vectors (N, 3 * 8 * 8) of coarse pixels: a motif with noise stays where it was."""
    return as_vectors(F.adaptive_avg_pool2d(images.float(), COARSE))


@dataclass(frozen=True)
class Spread:
    """Mean distance between two images, and median distance of an image to the nearest image of another group."""

    mean: float
    nearest: float


def spread(vectors: Tensor, groups: Tensor) -> Spread | None:
    """Spread of vectors (N, D) of the groups (N,); None for fewer than two groups."""
    if len(groups.unique()) < 2:
        return None
    vectors = vectors.double()
    distances = torch.cdist(vectors, vectors)
    mean = distances.fill_diagonal_(0).sum() / (len(vectors) * (len(vectors) - 1))
    nearest = distances.masked_fill(groups == groups[:, None], torch.inf).min(dim=1).values
    return Spread(mean.item(), nearest.median().item())


def diversity_ratio(synthetic: Spread | None, real: Spread | None) -> float | None:
    """Mean distance of two synthetic images over that of two real ones."""
    return synthetic.mean / real.mean if synthetic and real and real.mean > 0 else None


def separation_ratio(synthetic: Spread | None, real: Spread | None) -> float | None:
    """Distance to the nearest sibling, relative to the mean distance, over the same for real images.

    Without the mean distance, a generator of smooth images would look collapsed.
    """
    if not (synthetic and real and synthetic.mean > 0 and real.nearest > 0):
        return None
    return synthetic.nearest / synthetic.mean / (real.nearest / real.mean)


def has_collapsed(synthetic: dict[str, Spread | None], real: dict[str, Spread | None]) -> bool:
    """Whether images of one class have collapsed, from their spread in "features", in "pixels" and in "coarse" pixels.

    To one image: the mean distance is below `LEAST_DIVERSITY` in features, where all noise looks alike, and also in
    pixels, where smooth images look alike. To a few images: the separation is below `LEAST_SEPARATION` in any; noise
    that keeps repeated images apart in features and pixels hardly moves coarse pixels.
    """
    spaces = [(synthetic[name], real[name]) for name in ("features", "pixels", "coarse")]
    if any(ours is None or theirs is None for ours, theirs in spaces):
        return False
    to_one = all(ours.mean < LEAST_DIVERSITY * theirs.mean for ours, theirs in spaces[:2])
    separations = [separation_ratio(ours, theirs) for ours, theirs in spaces]
    return to_one or any(ratio is not None and ratio < LEAST_SEPARATION for ratio in separations)
