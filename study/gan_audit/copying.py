"""Does a generator copy training images? Its images' nearest training images tell: in features mirrored or not, in
pixels also turned.

An image is called a copy if its nearest training image is at most half as far away as any training image of another
group, in features or in pixels. This is the ratio of Lowe (2004, section 7.1). A distance alone misleads: smooth or
blurred images are near to everything in pixels, and slight noise moves a copy far away in features. The ratio suffers
less from either.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import fisher_exact
from torch import Tensor

# None of 321 held-out photographs (unchanged, blurred or noisy) and none of four GANs' images was below; 87 % of copies
# with noise of 8 grey levels were.
COPY_RATIO = 0.5
SIGNIFICANCE = 0.001  # one-sided; a table has some hundred verdicts


@dataclass(frozen=True)
class Nearest:
    """For N images: `distance` and `index` of the nearest training image, and `ratio` of this distance to that of the
    nearest training image of another group."""

    distance: Tensor
    index: Tensor
    ratio: Tensor

    def __getitem__(self, chosen: Tensor) -> "Nearest":
        return Nearest(self.distance[chosen], self.index[chosen], self.ratio[chosen])


def feature_distances(features: Tensor, train: Tensor, mirrored: Tensor) -> Tensor:
    """Distances (N, T) of features (N, D) to those of training images (T, D), mirrored or not: the smaller one."""
    features = features.double()
    return torch.minimum(torch.cdist(features, train.double()), torch.cdist(features, mirrored.double()))


def pixel_distances(images: Tensor, train: Tensor, batch_size: int = 256) -> Tensor:
    """Root mean square differences (N, T) of uint8 images (N, 3, S, S) to (T, 3, S, S): the least under the eight
    symmetries of a square."""
    ways = [as_vectors(way.rot90(turns, (2, 3))) for way in (images, images.flip(-1)) for turns in range(4)]
    columns = []
    for batch in map(as_vectors, train.split(batch_size)):
        columns.append(torch.stack([torch.cdist(way, batch) for way in ways]).amin(0))
    return torch.cat(columns, dim=1)


def as_vectors(images: Tensor) -> Tensor:
    """uint8 images (N, 3, S, S) -> float64 (N, 3 S S) whose Euclidean distances are root mean square differences."""
    return images.flatten(1).double() / math.sqrt(images[0].numel())


def nearest(distances: Tensor, groups: Tensor) -> Nearest:
    """The nearest training images, from distances (N, T) and the training images' groups (T,)."""
    distance, index = distances.min(dim=1)
    same_group = groups == groups[index][:, None]
    other = distances.masked_fill(same_group, torch.inf).min(dim=1).values
    return Nearest(distance, index, torch.where(distance > 0, distance / other, 0.0))


def is_copy(in_features: Nearest, in_pixels: Nearest) -> Tensor:
    """Flags (N,) of the images that are called copies."""
    return torch.minimum(in_features.ratio, in_pixels.ratio) <= COPY_RATIO


def more_copies(synthetic: Tensor, held_out: Tensor) -> bool:
    """Whether copies are more frequent among synthetic images (N,) than among held-out images (M,), by Fisher's test.

    Look-alikes that the split, or a wrong group, leaves on both of its sides count as copies among the held-out images
    too. With fewer than seven images on each side nothing is significant.
    """
    table = [[int(flags.sum()), int((~flags).sum())] for flags in (synthetic, held_out)]
    return fisher_exact(table, alternative="greater").pvalue < SIGNIFICANCE


def copy_rate(synthetic: Nearest, held_out: Nearest) -> float:
    """Share of synthetic images that are nearer to training images than 99 % of the held-out images: 0.01 by chance."""
    return (synthetic.distance < held_out.distance.quantile(0.01)).double().mean().item()
