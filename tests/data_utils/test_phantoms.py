"""The embedded sample data: seeded, grouped, neither trivial nor hopeless."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_utils.phantoms import render_phantoms


@pytest.fixture(scope="module")
def phantoms():
    return render_phantoms(size=32)


def test_defaults(phantoms):
    labels = {group: label for _, label, group in phantoms}
    assert len(phantoms) == 480 and len(labels) == 160 and sum(labels.values()) == 80
    assert all(pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8 for pixels, _, _ in phantoms)


def test_seeded():
    first, same, other = (render_phantoms(seed=seed, num_lesions=4, views=2, size=16) for seed in (7, 7, 8))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, same, strict=True))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_views_of_a_lesion_resemble_each_other(phantoms):
    tone = np.stack([pixels.mean((0, 1)) for pixels, _, _ in phantoms]).reshape(160, 3, 3)
    within = np.linalg.norm(tone[:, 0] - tone[:, 1], axis=1).mean()
    between = np.linalg.norm(tone[:, 0] - np.roll(tone[:, 1], 1, axis=0), axis=1).mean()
    assert 0 < within < 0.7 * between


def colours(pixels):
    """Spread of redness and of brightness over the picture: (10,)"""
    red, green, blue = np.moveaxis(pixels / 255 + 0.01, 2, 0)
    quantiles = (10, 30, 50, 70, 90)
    return np.r_[
        np.percentile(np.log(red / green), quantiles), np.percentile(np.log(blue / green), quantiles)
    ]


def test_infection_shows_but_overlaps(phantoms):
    features = np.stack([colours(pixels) for pixels, _, _ in phantoms])
    labels, groups = np.array([row[1] for row in phantoms]), [row[2] for row in phantoms]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = GroupKFold(5)
    score = cross_val_predict(model, features, labels, groups=groups, cv=folds, method="decision_function")
    assert 0.65 < roc_auc_score(labels, score) < 0.97
