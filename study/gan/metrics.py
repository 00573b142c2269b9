"""Distances between two sets of images: features in, numbers out; None where there are too few images."""

import math

import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

PRC_NEIGHBOURS = 3  # Kynkaanniemi et al. (2019), section 3
COVERAGE_NEIGHBOURS = 5  # Naeem et al. (2020), section 3.3


def frechet_distance(fake: Tensor, real: Tensor) -> float | None:
    """Frechet distance of two Gaussians fitted to features (N, D) and (M, D); Heusel et al. (2017), equation 6.

    With A, B the centred features, the trace of sqrt(cov(A) cov(B)) is the sum of the singular values of A B^T over
    sqrt((N-1)(M-1)): exact, and for fewer images than features faster than eigenvalues of D x D matrices.
    """
    if min(len(fake), len(real)) < 2:
        return None
    fake, real = fake.double().cpu(), real.double().cpu()
    if min(len(fake), len(real)) > fake.shape[1]:
        statistics = fid_features_to_statistics(fake), fid_features_to_statistics(real)
        return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    shift = fake.mean(0) - real.mean(0)
    fake, real = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (fake, real))
    trace = torch.linalg.svdvals(fake @ real.T).sum()
    return (shift.square().sum() + fake.square().sum() + real.square().sum() - 2 * trace).item()


def kernel_distance(fake: Tensor, real: Tensor, seed: int) -> dict[str, float | None]:
    """Columns kid_mean and kid_std of features (N, D) and (M, D): 100 subsets of half the smaller count, at most 1000.

    Kernel inception distance, Binkowski et al. (2018), section 4; its mean is unbiased at any count.
    """
    size = min(len(fake), len(real), 2000) // 2
    if size < 2:
        return {"kid_mean": None, "kid_std": None}
    kid = kid_features_to_metric(fake, real, kid_subsets=100, kid_subset_size=size, rng_seed=seed, verbose=False)
    return {"kid_mean": kid["kernel_inception_distance_mean"], "kid_std": kid["kernel_inception_distance_std"]}


def inception_score(logits: Tensor | None) -> float | None:
    """Inception score of logits (N, K) in one split, Salimans et al. (2016), section 4; None without logits."""
    if logits is None or len(logits) < 2:
        return None
    return isc_features_to_metric(logits, splits=1)["inception_score_mean"]


def precision_recall(fake: Tensor, real: Tensor) -> dict[str, float | None]:
    """precision, recall and f_score of features (N, D) and (M, D); Kynkaanniemi et al. (2019), equation 2.

    Precision is the share of synthetic images that lie within a ball around a real image, recall the share of real
    images within a ball around a synthetic one. Each ball reaches to its centre's third neighbour.
    """
    if min(len(fake), len(real)) <= PRC_NEIGHBOURS:
        return dict.fromkeys(["precision", "recall", "f_score"])
    return prc_features_to_metric(fake.double(), real.double(), prc_neighborhood=PRC_NEIGHBOURS, verbose=False)


def density_coverage(fake: Tensor, real: Tensor) -> dict[str, float | None]:
    """density and coverage of features (N, D) and (M, D); Naeem et al. (2020), section 3.

    Balls around real images reach to the fifth neighbour. Density is the number of balls that a synthetic image lies
    in, over 5: about 1 for a perfect generator, more for one that stays where real images are dense. Coverage is the
    share of balls that hold a synthetic image. Balls are closed, as in `precision_recall`.
    """
    if len(real) <= COVERAGE_NEIGHBOURS or len(fake) == 0:
        return dict.fromkeys(["density", "coverage"])
    fake, real = fake.double(), real.double()
    among_real = torch.cdist(real, real).fill_diagonal_(0)  # an image is its own nearest one, rounding or not
    radius = among_real.kthvalue(COVERAGE_NEIGHBOURS + 1, dim=1).values
    inside = torch.cdist(fake, real) <= radius  # N x M
    return {
        "density": inside.double().sum(1).mean().item() / COVERAGE_NEIGHBOURS,
        "coverage": inside.any(0).double().mean().item(),
    }


def distance_ratio(fake: Tensor, real: Tensor) -> float | None:
    """Median distance of synthetic images (N,) to their nearest training image, over that of real images (M,)."""
    return (fake.median() / real.median()).item() if real.median() > 0 else None
