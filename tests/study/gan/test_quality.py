"""Image quality on cases with known answers (planted copies, planted collapse), and the cache of real features."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from models.feature_extractor import FeatureExtractor
from study.config import make_config
from study.gan.features import ImageFeatures, real_features, with_noise
from study.gan.quality import GanQuality, quality_metrics
from study.gan.sampling import sample_grid

pytestmark = pytest.mark.usefixtures("one_thread")
DIMENSIONS = 24
COLUMNS = {
    *("frechet_distance", "frechet_floor", "kid_mean", "kid_std", "inception_score", "inception_score_real"),
    *("manifold_precision", "manifold_recall", "manifold_f1"),
    *("real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1"),
    *("ssim_nearest", "psnr_nearest", "ssim_nearest_real", "psnr_nearest_real", "nearest_train_ratio"),
    *("num_real", "num_fake"),
}


def gaussian(count, seed, shift=0.0, dimensions=DIMENSIONS):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def sample(count, seed, shift=0.0, logits=True):
    generator = torch.Generator().manual_seed(seed + 1000)
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator).byte()
    return ImageFeatures(images, gaussian(count, seed, shift), gaussian(count, seed, 0.0, 10) if logits else None)


def mirrored(images):
    """As if the features of an image were turned round with it."""
    return ImageFeatures(images.images.flip(-1), -images.features, images.logits)


def measure(fake, validation, train):
    return quality_metrics(fake, validation, train, mirrored(train))


def select(images, index):
    return ImageFeatures(images.images[index], images.features[index], images.logits[index])


def test_every_column_is_there_and_finite():
    metrics = measure(sample(40, 1), sample(30, 2), sample(60, 3))
    assert set(metrics) == COLUMNS
    assert all(math.isfinite(value) for value in metrics.values())
    assert (metrics["num_fake"], metrics["num_real"]) == (40, 30)


def test_without_logits_there_is_no_inception_score():
    metrics = measure(sample(8, 1, logits=False), sample(8, 2, logits=False), sample(8, 3, logits=False))
    missing = {name for name, value in metrics.items() if value is None}
    assert missing == {"inception_score", "inception_score_real"}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_images_give_none_and_never_nan(count):
    metrics = measure(sample(count, 1), sample(count, 2), sample(count, 3))
    assert set(metrics) == COLUMNS
    assert all(value is None or math.isfinite(value) for value in metrics.values())
    assert (metrics["manifold_recall"] is None) == (metrics["kid_mean"] is None) == (count < 4)


def test_equal_seeds_give_equal_results():
    arguments = sample(20, 1), sample(30, 2), sample(60, 3)
    assert measure(*arguments) == measure(*arguments)


def test_a_perfect_generator_scores_the_floor():
    metrics = measure(sample(60, 1), sample(60, 2), sample(300, 3))
    assert metrics["frechet_distance"] == pytest.approx(metrics["frechet_floor"], rel=0.15)
    assert abs(metrics["kid_mean"]) < 3 * metrics["kid_std"]
    assert metrics["nearest_train_ratio"] == pytest.approx(1, abs=0.1)
    worse = measure(sample(60, 1, shift=1.0), sample(60, 2), sample(300, 3))
    assert worse["frechet_distance"] > worse["frechet_floor"] + 0.5 * DIMENSIONS
    assert worse["kid_mean"] > 3 * worse["kid_std"]
    assert worse["manifold_f1"] < 0.5 * metrics["manifold_f1"]


def test_the_floor_needs_as_many_training_images_as_synthetic_ones():
    assert measure(sample(9, 1), sample(8, 2), sample(8, 3))["frechet_floor"] is None
    assert measure(sample(8, 1), sample(8, 2), sample(8, 3))["frechet_floor"] is not None


def test_noise_has_the_deviation_that_is_told():
    grey = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = with_noise(grey)
    assert noisy.dtype == torch.uint8 and torch.equal(noisy, with_noise(grey))
    assert noisy.double().std().item() * 2 / 255 == pytest.approx(0.1, rel=0.03)


def counted_images(monkeypatch) -> list[int]:
    """Grows by the images of each batch that the extractor, now one of a few pixels, sees."""
    seen = []

    def network(images):
        seen.append(len(images))
        return images.flatten(1)[:, ::97].float(), None

    extractor = FeatureExtractor("pixels", "pixels", False, network, torch.device("cpu"))
    monkeypatch.setattr("study.gan.quality.build_feature_extractor", lambda *_: extractor)
    return seen


def test_real_images_are_measured_once_by_whoever_comes_first(phantoms, tiny_settings, tmp_path, monkeypatch):
    seen = counted_images(monkeypatch)
    (tmp_path / "prepared").mkdir()
    dataset, config = replace(phantoms, path=tmp_path / "prepared" / "x.parquet"), make_config(tiny_settings)
    with ThreadPoolExecutor(2) as pool:  # the sides of two trials that begin together
        sides = list(pool.map(lambda _: GanQuality(config, dataset).noisy_train, range(2)))
    assert sum(seen) == len(dataset.side("train").labels)
    assert torch.equal(sides[0].features, sides[1].features)
    metrics = GanQuality(config, dataset).final_metrics(dataset.side("train").images[:16])
    assert metrics["frechet_noisy_real"] > 0 and metrics["frechet_noisy_real"] != metrics["frechet_floor"]


def test_images_that_were_measured_last_are_not_measured_again(phantoms, tiny_settings, tmp_path, monkeypatch):
    seen = counted_images(monkeypatch)
    quality = GanQuality(make_config(tiny_settings), phantoms)
    images = phantoms.side("train").images[:8]
    first = quality.features(images).features
    assert torch.equal(quality.features(images.clone()).features, first) and sum(seen) == 8
    assert not torch.equal(quality.features(images.flip(0)).features, first) and sum(seen) == 16


def test_manifold_precision_falls_for_bad_images_and_recall_for_missing_ones():
    real = sample(80, 2)
    collapsed = ImageFeatures(real.images, gaussian(80, 1) * 0.05, real.logits)  # good images that are all alike
    metrics = measure(collapsed, real, sample(80, 3))
    assert metrics["manifold_precision"] > 0.9 and metrics["manifold_recall"] < 0.1
    scattered = ImageFeatures(real.images, gaussian(80, 1) * 5, real.logits)  # around the real images, but far away
    metrics = measure(scattered, real, sample(80, 3))
    assert metrics["manifold_precision"] < 0.1 and metrics["manifold_recall"] > 0.9


def test_the_discriminator_recognises_bad_fakes_and_guesses_on_good_ones():
    names = ["real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1"]
    far = measure(sample(40, 1, shift=4.0), sample(90, 2), sample(200, 3))
    assert [far[name] for name in names] == [1.0, 1.0, 1.0]
    good = measure(sample(40, 1), sample(90, 2), sample(200, 3))  # 90 real against 20 fake images, weighted
    assert good["real_or_fake_precision"] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("change", [lambda images: images, mirrored])
def test_copied_training_images_raise_ssim_and_psnr(change):
    train = sample(60, 3)
    copies = measure(change(select(train, slice(20))), sample(30, 2), train)
    assert copies["ssim_nearest"] == pytest.approx(1)
    assert copies["psnr_nearest"] == pytest.approx(58.92, abs=0.01)  # error at the bound of 8-bit rounding
    assert copies["nearest_train_ratio"] == pytest.approx(0, abs=1e-6)
    assert copies["ssim_nearest_real"] < 0.2 and copies["psnr_nearest_real"] < 10


def test_psnr_is_that_of_the_nearest_image_in_feature_space():
    train = sample(5, 3)
    darker = ImageFeatures(train.images[[2]] // 2 * 2, train.features[[2]] + 0.01, train.logits[[2]])
    odd = (train.images[2] % 2).float().mean().item()  # the squared error: every odd value is one too low
    metrics = measure(darker, sample(5, 2), train)
    assert metrics["psnr_nearest"] == pytest.approx(10 * math.log10(255**2 / odd), rel=1e-4)


def test_inception_score_spans_one_to_the_number_of_classes():
    def with_logits(logits):
        images = sample(len(logits), 1)
        return ImageFeatures(images.images, images.features, logits)

    alike, certain = torch.zeros(20, 10), 50 * torch.eye(10).repeat(2, 1)
    metrics = measure(with_logits(alike), with_logits(certain), sample(20, 3))
    assert metrics["inception_score"] == pytest.approx(1)
    assert metrics["inception_score_real"] == pytest.approx(10)


class CountingMeans(torch.nn.Module):
    calls = 0

    def forward(self, images):
        self.calls += 1
        return images.float().mean((2, 3)), images.float().amax((2, 3))


def means(key="k", has_logits=True):
    return FeatureExtractor("means", key, has_logits, CountingMeans(), torch.device("cpu"))


@pytest.mark.parametrize("has_logits", [True, False])
def test_real_features_are_computed_once(tmp_path, has_logits):
    images, extractor, file = sample(4, 0).images, means(has_logits=has_logits), tmp_path / "real.safetensors"
    first, second = (real_features(images, extractor, file) for _ in range(2))
    assert extractor.network.calls == 1
    assert torch.equal(first.images, second.images) and torch.equal(first.features, second.features)
    assert torch.equal(first.logits, second.logits) if has_logits else first.logits is second.logits is None
    assert sorted(path.name for path in file.parent.iterdir()) == ["real.safetensors", "real.safetensors.lock"]


def test_a_cache_of_other_content_is_not_used(tmp_path):
    images, file = sample(4, 0).images, tmp_path / "real.safetensors"
    real_features(images, means(), file)
    other = images.clone()
    other[0, 0, 0, 0] += 1
    assert torch.equal(real_features(other, means(), file).features, means()(other)[0])
    renamed = means("another key")
    real_features(other, renamed, file)
    assert renamed.network.calls == 1


def test_an_image_is_measured_once_whatever_split_it_is_in(tmp_path):
    images, extractor, file = sample(12, 0).images, means(), tmp_path / "real.safetensors"
    real_features(images[:8], extractor, file)
    extractor.network.calls = 0
    chosen = [9, 2, 11, 2, 0]  # two new ones, and one twice
    found = real_features(images[chosen], extractor, file)
    assert extractor.network.calls == 1  # a batch of the new ones
    assert torch.equal(found.images, images[chosen])
    features, logits = means()(images[chosen])
    assert torch.equal(found.features, features) and torch.equal(found.logits, logits)
    real_features(images, extractor, file)  # two more
    assert extractor.network.calls == 2


def test_an_image_has_the_same_noise_among_others():
    images = sample(5, 0).images
    assert torch.equal(with_noise(images)[3], with_noise(images[[3, 1]])[0])


def test_sample_grid_keeps_the_pixels_row_by_row(tmp_path):
    images = sample(5, 0).images
    sample_grid(images, tmp_path / "grid.png", columns=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (2 * 18 + 2, 3 * 18 + 2, 3)  # two pixels around each image
    np.testing.assert_array_equal(pixels[20:36, 2:18], images[3].permute(1, 2, 0))
