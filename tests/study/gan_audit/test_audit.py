"""Planted copiers and collapses are flagged, and bad generators that do neither are not."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_utils.dataset import load_dataset
from data_utils.prepare import prepare
from models.feature_extractor import FeatureExtractor, build_feature_extractor
from results.tables.schema import COLLAPSED, COPIES, HONEST, ONE_CLASS
from study.config import make_config
from study.gan_audit.audit import audit_images, interpolate
from study.gan_audit.copying import Nearest, copy_rate, more_copies, nearest, pixel_distances
from study.gan_audit.diversity import Spread, has_collapsed, spread
from study.gan_audit.reference import Reference
from tests.support.features import CoarsePixels, coarse_pixels

pytestmark = pytest.mark.usefixtures("one_thread")



def noisy(images, deviation, seed=0):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images.float() + deviation * noise).round().clamp(0, 255).byte()


def blurred(images):
    return F.avg_pool2d(images.float(), 5, 1, 2, count_include_pad=False).round().byte()


def training_images(dataset, labels):
    """As many training images of each class as in `labels`, from all over the training set, in its order."""
    train, chosen = dataset.side("train"), torch.empty_like(labels)
    for label in (0, 1):
        places = (train.labels == label).nonzero()[:, 0]
        count = int((labels == label).sum())
        chosen[labels == label] = places[torch.linspace(0, len(places) - 1, count).long()]
    return train.images[chosen]


# ---- planted generators


@pytest.fixture(scope="module")
def reference(phantoms, tmp_path_factory):
    return Reference(replace(phantoms, path=tmp_path_factory.mktemp("cache") / "phantoms.parquet"), coarse_pixels())


@pytest.fixture
def verdict_on(phantoms, reference):
    """images -> the verdict on both classes; the images are as many as, and labelled like, the validation side's."""

    def judge(images):
        rows = audit_images(images, phantoms.side("validation").labels, [reference]).metrics
        return {row["label"]: row["verdict"] for row in rows}[None]

    return judge


COPIERS = {
    "exact": lambda images: images,
    "noisy": lambda images: noisy(images, 4),
    "mirrored": lambda images: images.flip(-1),
    "mirrored and noisy": lambda images: noisy(images.flip(-1), 4),
    "turned by 90 degrees": lambda images: images.rot90(1, (2, 3)),
    "turned by 270 degrees and noisy": lambda images: noisy(images.rot90(3, (2, 3)), 4),
    "upside down": lambda images: images.flip(2),
    "transposed": lambda images: images.transpose(2, 3),
    "brighter": lambda images: (images.float() * 1.05).clamp(max=255).byte(),
}


@pytest.mark.parametrize("kind", COPIERS)
def test_a_copier_is_flagged(phantoms, verdict_on, kind):
    copies = training_images(phantoms, phantoms.side("validation").labels)
    assert verdict_on(COPIERS[kind](copies)) == COPIES


def test_copies_in_one_class_are_flagged_for_the_generator(phantoms, reference):
    held_out = phantoms.side("validation")
    copies = training_images(phantoms, held_out.labels)
    images = torch.where((held_out.labels == 0)[:, None, None, None], copies, noisy(held_out.images, 10))
    rows = {row["label"]: row["verdict"] for row in audit_images(images, held_out.labels, [reference]).metrics}
    assert rows == {None: COPIES, 0: COPIES, 1: HONEST}


COLLAPSES = {
    "one image": lambda images, labels: noisy(images[:1].expand_as(images), 2),
    "one image a class": lambda images, labels: noisy(
        torch.stack([images[labels == label][0] for label in (0, 1)])[labels], 2
    ),
    "one image, exactly": lambda images, labels: images[:1].expand_as(images),
    "two images a class": lambda images, labels: noisy(
        torch.stack([images[labels == label][:2] for label in (0, 1)])[labels, torch.arange(len(labels)) % 2], 2
    ),
}


@pytest.mark.parametrize("kind", COLLAPSES)
def test_a_collapse_is_flagged(phantoms, verdict_on, kind):
    held_out = phantoms.side("validation")
    assert verdict_on(COLLAPSES[kind](held_out.images, held_out.labels)) == COLLAPSED


class Edges(nn.Module):
    """Features that noise moves far, as it does a network's."""

    def forward(self, images):
        return images.float().diff(dim=-1).flatten(1), None


@pytest.mark.parametrize("deviation", [0, 4, 6])
def test_two_images_a_class_are_a_collapse_whatever_their_noise(phantoms, tmp_path, deviation):
    extractor = FeatureExtractor("edges", "edges", False, Edges(), torch.device("cpu"))
    reference = Reference(replace(phantoms, path=tmp_path / "phantoms.parquet"), extractor)
    held_out = phantoms.side("validation")
    motifs = torch.stack([held_out.images[held_out.labels == label][:2] for label in (0, 1)])
    images = noisy(motifs[held_out.labels, torch.arange(len(held_out.labels)) % 2], deviation)
    assert audit_images(images, held_out.labels, [reference]).metrics[0]["verdict"] == COLLAPSED


def test_a_collapse_to_a_training_image_is_flagged_as_both(phantoms, verdict_on):
    images = training_images(phantoms, phantoms.side("validation").labels)
    assert verdict_on(noisy(images[:1].expand_as(images), 1)) == f"{COPIES}; {COLLAPSED}"


HONEST_ONES = {
    "held-out images": lambda images: images,
    "blurred": blurred,
    "noisy": lambda images: noisy(images, 25),
    "pure noise": lambda images: noisy(torch.full_like(images, 128), 60),
    "patches out of order": lambda images: images.unflatten(2, (4, 8)).flip(2).flatten(2, 3),
    "colours swapped": lambda images: images.flip(1),
}


@pytest.mark.parametrize("kind", HONEST_ONES)
def test_bad_generators_that_neither_copy_nor_collapse_are_not_flagged(phantoms, verdict_on, kind):
    held_out = phantoms.side("validation").images
    if kind == "pure noise":
        noise = HONEST_ONES[kind](held_out)
        # Its coarse pixels are all alike, as a network's features of noise are: pixels tell that it has not collapsed.
        means = [spread(CoarsePixels()(images)[0], torch.arange(len(images))).mean for images in (noise, held_out)]
        assert means[0] < 0.4 * means[1]
    assert verdict_on(HONEST_ONES[kind](held_out)) == HONEST


def test_real_photographs_in_a_networks_features(real_patches, tmp_path):
    photographs = tmp_path / "photographs"
    for folder in real_patches.iterdir():
        (photographs / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:360:9]:
            shutil.copyfile(path, photographs / folder.name / path.name)
    dataset = load_dataset(prepare(photographs, tmp_path, image_size=32, positive="ulcer").path, 32)
    references = [Reference(dataset, build_feature_extractor("efficientnet_lite0"))]
    held_out = dataset.side("validation")
    copies = training_images(dataset, held_out.labels)
    planted = {
        HONEST: held_out.images,
        COPIES: noisy(copies.flip(-1), 4),
        f"{COLLAPSED}; {ONE_CLASS}": noisy(held_out.images[:1].expand_as(copies), 4),  # one image for both labels
    }
    for verdict, images in planted.items():
        rows = {row["label"]: row for row in audit_images(images, held_out.labels, references).metrics}
        assert rows[None]["verdict"] == verdict
        assert rows[None]["inception_score"] >= 1


# ---- what the rows hold


def test_rows_of_held_out_images_as_synthetic_ones(phantoms, reference):
    held_out = phantoms.side("validation")
    found = audit_images(held_out.images, held_out.labels, [reference])
    overall, *classes = found.metrics
    assert [row["label"] for row in found.metrics] == [None, 0, 1]
    assert sum(row["num_fake"] for row in classes) == overall["num_fake"] == overall["num_real"] == len(held_out.labels)
    for row in found.metrics:
        assert row["frechet_distance"] == pytest.approx(0, abs=1e-6) and row["frechet_floor"] > 1
        assert (row["precision"], row["recall"], row["coverage"]) == (1, 1, 1)
        assert row["nearest_train_ratio"] == row["nearest_train_ratio_pixels"] == 1
        assert row["diversity_ratio"] == pytest.approx(1)
        assert 0 < row["precision_floor"] <= 1 and 0 < row["coverage_floor"] <= 1 and row["density_floor"] > 0
        assert row["inception_score"] is None  # coarse pixels have no logits
    assert overall["diversity"] == pytest.approx((classes[0]["diversity"] + classes[1]["diversity"]) / 2)
    by_kind = [[line for line in found.neighbours if line["kind"] == kind] for kind in ("synthetic", "held_out")]
    for synthetic, real, image_id in zip(*by_kind, held_out.image_ids, strict=True):
        assert real["image_id"] == image_id and synthetic["image_id"] is None and real["number"] is None
        assert synthetic["feature_distance"] == pytest.approx(real["feature_distance"])
        assert synthetic["nearest_image_id"] == real["nearest_image_id"]


def test_copies_name_the_image_that_was_copied(phantoms, reference):
    train, labels = phantoms.side("train"), phantoms.side("validation").labels
    images = train.images[: len(labels)].flip(-1)
    found = audit_images(images, labels, [reference])
    lines = [line for line in found.neighbours if line["kind"] == "synthetic"]
    assert [line["nearest_image_id_pixels"] for line in lines] == list(train.image_ids[: len(labels)])
    assert max(line["pixel_distance"] for line in lines) < 1e-3
    assert found.metrics[0]["copy_rate"] == found.metrics[0]["copy_rate_pixels"] == 1


def test_image_numbers_follow_the_distance_in_the_first_extractor(phantoms, reference):
    held_out = phantoms.side("validation")
    found = audit_images(held_out.images, held_out.labels, [reference, reference])
    lines = [line for line in found.neighbours if line["kind"] == "synthetic"]
    lines.sort(key=lambda line: line["number"])
    assert [line["number"] for line in lines] == sorted([*range(len(held_out.labels))] * 2)
    distances = [line["feature_distance"] for line in lines]
    assert distances == sorted(distances)


def test_a_floor_needs_enough_training_images(phantoms, reference):
    labels = torch.arange(2).repeat_interleave(60)  # more than there are training images of either class
    rows = audit_images(noisy(torch.full((120, 3, 32, 32), 128), 20), labels, [reference]).metrics
    assert all(row["frechet_floor"] is row["coverage_floor"] is row["kid_floor"] is None for row in rows)


# ---- small cases, worked out by hand


def test_nearest_training_image_and_its_distance_relative_to_another_group():
    distances = torch.tensor([[1.0, 2.0, 4.0], [6.0, 3.0, 3.0], [0.0, 9.0, 0.0]])
    found = nearest(distances, groups=torch.tensor([7, 7, 8]))
    assert found.distance.tolist() == [1, 3, 0] and found.index.tolist() == [0, 1, 0]
    assert found.ratio.tolist() == [0.25, 1, 0]  # an exact copy is one, also where the image is in two groups


def test_pixel_distances_are_in_grey_levels_and_see_mirror_images():
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(0, 200, (5, 3, 6, 6), generator=generator).byte()
    distances = pixel_distances(torch.cat([train[3:4] + 10, train[2:3].flip(-1)]), train, batch_size=2)
    assert distances.shape == (2, 5)
    assert distances[0, 3] == pytest.approx(10) and distances[1, 2] == pytest.approx(0, abs=1e-3)
    assert distances[0].argmin() == 3 and distances[1].argmin() == 2


def test_copies_count_only_if_they_are_more_frequent_than_among_held_out_images():
    def flags(count):
        return torch.arange(300) < count

    assert more_copies(flags(12), flags(0)) and not more_copies(flags(5), flags(0))
    assert not more_copies(flags(30), flags(28))  # the data set itself has look-alikes on both sides
    assert not more_copies(flags(0), flags(30))
    alike = torch.ones(7, dtype=torch.bool)
    assert more_copies(alike, ~alike) and not more_copies(alike[:6], ~alike[:6])


def test_copy_rate_is_the_share_below_the_held_out_images_first_percentile():
    def at(distances):
        return Nearest(torch.as_tensor(distances), torch.zeros(len(distances)), torch.ones(len(distances)))

    held_out = at(torch.linspace(1, 2, 101))  # 1st percentile 1.01
    assert copy_rate(at([0.5, 1.0, 1.02, 3.0]), held_out) == 0.5


def test_spread_of_a_square():
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = spread(corners, torch.arange(4))
    assert found.mean == pytest.approx((4 + 2 * math.sqrt(2)) / 6) and found.nearest == pytest.approx(1)
    assert spread(corners, torch.tensor([0, 0, 1, 1])).nearest == pytest.approx(1)
    assert spread(corners, torch.tensor([0, 1, 1, 0])).nearest == pytest.approx(1)
    assert spread(corners[[0, 0, 3]], torch.tensor([0, 0, 1])).nearest == pytest.approx(math.sqrt(2))
    assert spread(corners, torch.zeros(4)) is None


@pytest.mark.parametrize(
    ("features", "pixels", "coarse", "collapsed"),
    [
        ((4, 2), (4, 2), (4, 2), True),  # of real spreads (10, 5): one point in both
        ((4, 2), (9, 4), (4, 2), False),  # noise, whose features and coarse pixels are alike
        ((9, 4), (4, 2), (4, 2), False),  # smooth images
        ((9, 1), (9, 4), (9, 4), True),  # a few points
        ((6, 0.7), (6, 0.7), (6, 0.7), True),
        ((6, 0.8), (6, 0.8), (6, 0.8), False),
        ((6, 2), (6, 2), (6, 0.7), True),  # a few points with noise
    ],
)
def test_collapse_by_spreads(features, pixels, coarse, collapsed):
    synthetic = {"features": Spread(*features), "pixels": Spread(*pixels), "coarse": Spread(*coarse)}
    assert has_collapsed(synthetic, dict.fromkeys(synthetic, Spread(10, 5))) == collapsed


class TanhOfLatents(nn.Module):
    def forward(self, z, labels):
        self.z, self.labels = z, labels
        return torch.tanh(z[:, :3, None, None].expand(-1, 3, 4, 4))


def test_interpolation_runs_along_the_sphere_in_equal_steps(tiny_settings):
    generator, config = TanhOfLatents(), make_config(tiny_settings | {"latent_dim": 64})
    images = interpolate(generator, config, torch.device("cpu"))
    assert images.shape == (16, 3, 4, 4) and images.dtype == torch.uint8
    assert generator.labels.tolist() == [0] * 8 + [1] * 8
    path = generator.z[:8]
    assert torch.equal(path, generator.z[8:])
    steps = F.cosine_similarity(path[1:], path[:-1]).acos()
    torch.testing.assert_close(steps, steps.mean().expand(7), rtol=0.15, atol=0)
    between = path[1:-1].norm(dim=1)
    assert between.min() > 0.9 * path[[0, 7]].norm(dim=1).min()  # a straight line passes nearer to the origin
    assert torch.equal(images, interpolate(generator, config, torch.device("cpu")))
