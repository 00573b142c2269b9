"""A generator whose labels are wrong is named; one whose classes are hard to tell apart is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from results.tables.schema import IGNORED, ONE_CLASS, SWAPPED
from study.gan_audit.audit import audit_images
from study.gan_audit.labels import Scores, label_finding
from study.gan_audit.reference import Reference
from tests.support.features import coarse_pixels

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = np.arange(120) % 2


def scores(separation, labels=LABELS, shift=0.0, seed=0):
    """Normal scores whose class means lie `separation` apart, around `shift`."""
    values = np.random.default_rng(seed).normal(size=len(labels)) + separation * (labels - 0.5) + shift
    return Scores(values, labels)


REAL = scores(3, seed=1)


@pytest.mark.parametrize(
    ("synthetic", "finding"),
    [
        (scores(3), None),
        (scores(1.2), None),  # labels show less than in real images, but they do
        (scores(3, shift=5), None),  # all look like positives, and the positives more so
        (scores(-3), SWAPPED),
        (Scores(scores(3, np.ones(120)).values, LABELS), ONE_CLASS),
        (Scores(scores(3, np.zeros(120)).values, LABELS), ONE_CLASS),
        (Scores(scores(3, LABELS).values, np.arange(120) // 2 % 2), IGNORED),
    ],
)
def test_what_scores_tell_of_the_labels(synthetic, finding):
    assert label_finding(synthetic, REAL) == finding


@pytest.mark.parametrize("held_out", [scores(0.3), scores(0.8, LABELS[:20]), scores(3, np.ones(40, dtype=int))])
def test_nothing_is_said_where_real_images_do_not_tell_the_classes_apart(held_out):
    assert label_finding(scores(-3), held_out) is None


def test_the_standard_error_is_the_spread_over_samples():
    areas = [scores(1, seed=seed).agreement for seed in range(100)]
    assert scores(1, seed=5).error() == pytest.approx(np.std(areas), rel=0.25)


@pytest.fixture
def judged(two_colours, tmp_path):
    """labels that the images really have (of the validation side's) -> the row of both classes."""
    split = two_colours.split.copy()  # with half of the training images on the validation side, which has 14 else
    split[np.flatnonzero(split == "train")[::2]] = "validation"
    dataset = replace(two_colours, path=tmp_path / "colours.parquet", split=split)
    reference, side = Reference(dataset, coarse_pixels()), dataset.side("validation")

    def judge(shown):
        images = torch.stack([side.images[side.labels == label][0] for label in (0, 1)])[shown]
        noise = torch.randint(-15, 16, images.shape, generator=torch.Generator().manual_seed(1))
        images = (images.int() + noise).clamp(0, 255).byte()
        return audit_images(images, side.labels, [reference]).metrics

    return judge, side.labels


def test_a_generators_labels_are_part_of_its_verdict(judged):
    judge, labels = judged
    for shown, finding, agreement in (
        (labels, None, 1),
        (1 - labels, SWAPPED, 0),
        (torch.ones_like(labels), ONE_CLASS, 0.5),
        (torch.zeros_like(labels), ONE_CLASS, 0.5),
    ):
        overall, *classes = judge(shown)
        named = [name for name in (SWAPPED, ONE_CLASS, IGNORED) if name in overall["verdict"]]
        assert named == ([finding] if finding else [])
        assert overall["label_agreement"] == pytest.approx(agreement, abs=0.3) and overall["label_agreement_real"] == 1
        assert all(row["label_agreement"] is row["label_agreement_real"] is None for row in classes)
