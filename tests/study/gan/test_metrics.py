"""Density and coverage: by hand, against plain loops, and against their expectation; the others: test_image_quality."""

import math

import numpy as np
import pytest
import torch

from study.gan.metrics import density_coverage


def gaussian(count, seed, dimensions=6, scale=1.0):
    return scale * torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def by_loops(fake, real, k):
    """Naeem et al. (2020), section 3, image by image."""
    radii = [np.sort([np.linalg.norm(x - y) for y in real])[k] for x in real]  # place 0 is the image itself
    inside = [[np.linalg.norm(y - x) <= radius for x, radius in zip(real, radii, strict=True)] for y in fake]
    return np.sum(inside) / (k * len(fake)), np.mean(np.any(inside, axis=0))


@pytest.mark.parametrize(("num_fake", "num_real", "scale"), [(30, 40, 1.0), (40, 12, 0.3), (9, 50, 2.0)])
def test_agrees_with_plain_loops(num_fake, num_real, scale):
    fake, real = gaussian(num_fake, 1, scale=scale), gaussian(num_real, 2)
    found = density_coverage(fake, real)
    assert (found["density"], found["coverage"]) == pytest.approx(by_loops(fake.numpy(), real.numpy(), k=5))


def test_by_hand():
    real = torch.arange(7.0)[:, None]  # fifth neighbours at 5, 4, 3, 3, 3, 4, 5
    found = density_coverage(torch.tensor([[0.0], [20.0]]), real)
    assert found["coverage"] == pytest.approx(4 / 7)  # 0 lies in the balls around 0, 1, 2 and 3
    assert found["density"] == pytest.approx(4 / (2 * 5))


def test_expectation_for_a_perfect_generator():
    """Naeem et al. (2020), lemma 2: coverage 1 - (N - 1) ... (N - k) / ((M + N - 1) ... (M + N - k)); density 1."""
    num_fake, num_real, k = 30, 40, 5
    found = [density_coverage(gaussian(num_fake, seed, 2), gaussian(num_real, 1000 + seed, 2)) for seed in range(200)]
    missed = math.prod((num_real - i) / (num_fake + num_real - i) for i in range(1, k + 1))
    assert np.mean([row["coverage"] for row in found]) == pytest.approx(1 - missed, abs=0.01)
    assert np.mean([row["density"] for row in found]) == pytest.approx(1, abs=0.03)


def test_collapse_and_scatter():
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
def test_too_few_images(num_fake, num_real):
    assert density_coverage(gaussian(num_fake, 1), gaussian(num_real, 2)) == {"density": None, "coverage": None}
