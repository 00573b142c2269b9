"""Frechet distance, density and coverage against cases with known answers and other implementations."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from study.gan.metrics import density_coverage, distance_ratio, frechet_distance


def gaussian(count, seed, dimensions=6, scale=1.0):
    return scale * torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("num_fake", "num_real"), [(20, 20), (20, 90), (24, 25), (25, 40), (90, 60)])
def test_frechet_distance_agrees_with_torch_fidelity_on_both_sides_of_the_switch(num_fake, num_real):
    mixing = gaussian(24, 3, 24)
    fake, real = (gaussian(num_fake, 1, 24) + 0.2) @ mixing, gaussian(num_real, 2, 24) @ mixing
    statistics = [fid_features_to_statistics(x.double()) for x in (fake, real)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dimensions", [4, 6000])  # more images than features, and fewer
def test_frechet_distance_of_shifted_copies_is_the_squared_shift(dimensions):
    features = gaussian(50, 1, dimensions)
    shift = gaussian(1, 2, dimensions)
    assert frechet_distance(features + shift, features) == pytest.approx(shift.square().sum().item(), rel=1e-3)


def test_frechet_distance_tends_to_the_squared_shift_of_two_gaussians():
    far = [abs(frechet_distance(gaussian(n, 1, 24) + 0.5, gaussian(n, 2, 24)) - 0.25 * 24) for n in (100, 20_000)]
    assert far[1] < 0.1 < far[0]


def test_frechet_distance_of_scaled_gaussians():
    features = gaussian(40, 1, 24)  # covariances C and 9 C: the trace of C (1 + 9 - 2 * 3)
    features -= features.mean(0)
    variance = features.double().var(0).sum().item()
    assert frechet_distance(3 * features, features) == pytest.approx(4 * variance, rel=1e-4)


# ---- density and coverage


def by_loops(fake, real, k):
    """Naeem et al. (2020), section 3, image by image."""
    radii = [np.sort([np.linalg.norm(x - y) for y in real])[k] for x in real]  # place 0 is the image itself
    inside = [[np.linalg.norm(y - x) <= radius for x, radius in zip(real, radii, strict=True)] for y in fake]
    return np.sum(inside) / (k * len(fake)), np.mean(np.any(inside, axis=0))


@pytest.mark.parametrize(("num_fake", "num_real", "scale"), [(30, 40, 1.0), (40, 12, 0.3), (9, 50, 2.0)])
def test_density_and_coverage_agree_with_plain_loops(num_fake, num_real, scale):
    fake, real = gaussian(num_fake, 1, scale=scale), gaussian(num_real, 2)
    found = density_coverage(fake, real)
    assert (found["density"], found["coverage"]) == pytest.approx(by_loops(fake.numpy(), real.numpy(), k=5))


def test_density_and_coverage_worked_out_by_hand():
    real = torch.arange(7.0)[:, None]  # fifth neighbours at 5, 4, 3, 3, 3, 4, 5
    found = density_coverage(torch.tensor([[0.0], [20.0]]), real)
    assert found["coverage"] == pytest.approx(4 / 7)  # 0 lies in the balls around 0, 1, 2 and 3
    assert found["density"] == pytest.approx(4 / (2 * 5))


def test_density_and_coverage_of_a_perfect_generator():
    """Naeem et al. (2020), lemma 2: coverage 1 - (N - 1) ... (N - k) / ((M + N - 1) ... (M + N - k)); density 1."""
    num_fake, num_real, k = 30, 40, 5
    found = [density_coverage(gaussian(num_fake, seed, 2), gaussian(num_real, 1000 + seed, 2)) for seed in range(200)]
    missed = math.prod((num_real - i) / (num_fake + num_real - i) for i in range(1, k + 1))
    assert np.mean([row["coverage"] for row in found]) == pytest.approx(1 - missed, abs=0.01)
    assert np.mean([row["density"] for row in found]) == pytest.approx(1, abs=0.03)


def test_collapse_raises_density_and_scatter_lowers_both():
    real = gaussian(100, 2)
    collapsed, scattered = density_coverage(gaussian(100, 1, scale=0.05), real), density_coverage(
        gaussian(100, 1, scale=5), real
    )
    assert collapsed["density"] > 1.5 and collapsed["coverage"] < 0.8
    assert scattered["density"] < 0.1 and scattered["coverage"] < 0.3


def test_copies_are_within_a_ball_of_radius_zero():
    real = torch.zeros(8, 3)
    assert density_coverage(torch.zeros(2, 3), real) == {"density": 8 / 5, "coverage": 1}


@pytest.mark.parametrize(("num_fake", "num_real"), [(9, 5), (0, 9)])
def test_too_few_images_give_none(num_fake, num_real):
    assert density_coverage(gaussian(num_fake, 1), gaussian(num_real, 2)) == {"density": None, "coverage": None}
    assert frechet_distance(gaussian(1, 1), gaussian(num_real, 2)) is None


def test_distance_ratio_is_that_of_the_medians():
    assert distance_ratio(torch.tensor([0.3, 0.75, 9.0]), torch.linspace(1, 2, 101)) == pytest.approx(0.5)
    assert distance_ratio(torch.ones(3), torch.zeros(2)) is None
