"""Latent points follow from seed and index, whatever else is drawn."""

import numpy as np
import pytest

from study.bundle.using.latents import between, latent, latents


def test_a_point_depends_on_its_seed_and_index_alone():
    many = latents(7, range(100), 64)
    assert np.array_equal(latents(7, range(41, 42), 64)[0], many[41])
    assert np.array_equal(latent(7, 41, 64), many[41])
    assert len({point.tobytes() for point in [*many, *latents(8, range(100), 64)]}) == 200


def test_points_are_standard_normal():
    points = latents(0, range(2000), 64)
    assert points.dtype == np.float32
    assert abs(points.mean()) < 0.01 and abs(points.std() - 1) < 0.01


def test_truncation_bounds_every_value_and_keeps_those_within():
    free, bounded = latent(3, 5, 500), latent(3, 5, 500, truncation=0.5)
    within = np.abs(free) <= 0.5
    assert np.abs(bounded).max() <= 0.5
    assert np.array_equal(free[within], bounded[within])
    assert 0.2 < bounded.std() < 0.35  # 0.29 for a uniform one, 0.28 for the truncated normal


def test_a_path_goes_from_point_to_point_near_the_sphere():
    path = latents(1, range(9), 256, interpolate=4)
    points = latents(1, range(3), 256)
    assert np.allclose(path[::4], points, atol=1e-6)
    norms = np.linalg.norm(path, axis=1)
    assert norms.min() > 0.9 * np.linalg.norm(points, axis=1).min()  # a straight path would drop to 0.7
    assert np.array_equal(latents(1, range(5, 6), 256, interpolate=4)[0], path[5])


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_between_orthogonal_points(t):
    found = between(np.array([1, 0], np.float32), np.array([0, 1], np.float32), t)
    assert found == pytest.approx([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)], abs=1e-6)
