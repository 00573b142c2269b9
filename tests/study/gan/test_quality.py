"""Image quality from first principles: known distances, planted copies, planted collapse, and an honest cache."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from models.feature_extractor import FeatureExtractor
from study.gan.features import ImageFeatures, real_features
from study.gan.metrics import frechet_distance
from study.gan.quality import quality_metrics
from study.gan.sampling import sample_grid

DIMENSIONS = 24
COLUMNS = {
    *("frechet_distance", "frechet_floor", "fid", "kid_mean", "kid_std", "inception_score", "inception_score_real"),
    *("manifold_precision", "manifold_recall", "manifold_f1"),
    *("real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1"),
    *("ssim_nearest", "psnr_nearest", "ssim_nearest_real", "psnr_nearest_real", "nearest_train_ratio"),
    *("num_real", "num_fake"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gaussian(count, seed, shift=0.0, dimensions=DIMENSIONS):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def sample(count, seed, shift=0.0, logits=True):
    generator = torch.Generator().manual_seed(seed + 1000)
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator).byte()
    return ImageFeatures(images, gaussian(count, seed, shift), gaussian(count, seed, 0.0, 10) if logits else None)


def select(images, index):
    return ImageFeatures(images.images[index], images.features[index], images.logits[index])


def measure(fake, validation, train, extractor_name="efficientnet_lite0"):
    return quality_metrics(fake, validation, train, extractor_name=extractor_name)


@pytest.mark.parametrize(("num_fake", "num_real"), [(20, 20), (20, 90), (24, 25), (25, 40), (90, 60)])
def test_frechet_distance_agrees_with_torch_fidelity_on_both_sides_of_the_switch(num_fake, num_real):
    mixing = gaussian(DIMENSIONS, 3)
    fake, real = gaussian(num_fake, 1, 0.2) @ mixing, gaussian(num_real, 2) @ mixing
    statistics = [fid_features_to_statistics(x.double()) for x in (fake, real)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dimensions", [4, 6000])  # more images than features, and fewer
def test_frechet_distance_of_shifted_copies_is_the_squared_shift(dimensions):
    features = gaussian(50, 1, dimensions=dimensions)
    shift = gaussian(1, 2, dimensions=dimensions)
    assert frechet_distance(features + shift, features) == pytest.approx(shift.square().sum().item(), rel=1e-3)


def test_frechet_distance_tends_to_the_squared_shift_of_two_gaussians():
    far = [abs(frechet_distance(gaussian(n, 1, 0.5), gaussian(n, 2)) - 0.25 * DIMENSIONS) for n in (100, 20_000)]
    assert far[1] < 0.1 < far[0]


def test_frechet_distance_of_scaled_gaussians():
    features = gaussian(40, 1)  # covariances C and 9 C: the trace of C (1 + 9 - 2 * 3)
    features -= features.mean(0)
    variance = features.double().var(0).sum().item()
    assert frechet_distance(3 * features, features) == pytest.approx(4 * variance, rel=1e-4)


def test_frechet_distance_needs_two_images_on_each_side():
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(gaussian(1, 0), gaussian(9, 1))


def test_every_column_is_there_and_finite():
    metrics = measure(sample(40, 1), sample(30, 2), sample(60, 3), "inception")
    assert set(metrics) == COLUMNS
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["fid"] == metrics["frechet_distance"]
    assert (metrics["num_fake"], metrics["num_real"]) == (40, 30)


def test_fid_is_inceptions_alone_and_scores_need_logits():
    metrics = measure(sample(8, 1, logits=False), sample(8, 2, logits=False), sample(8, 3, logits=False))
    missing = {name for name, value in metrics.items() if value is None}
    assert missing == {"fid", "inception_score", "inception_score_real"}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_tiny_counts_give_none_never_nan(count):
    metrics = measure(sample(count, 1), sample(count, 2), sample(count, 3))
    assert set(metrics) == COLUMNS
    assert all(value is None or math.isfinite(value) for value in metrics.values())
    assert (metrics["frechet_distance"] is None) == (count < 2)
    assert (metrics["manifold_recall"] is None) == (count < 4)
    assert (metrics["kid_mean"] is None) == (count < 4)


def test_results_are_seeded():
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


def test_manifold_precision_falls_for_bad_images_and_recall_for_missing_ones():
    real = sample(80, 2)
    collapsed = ImageFeatures(real.images, gaussian(80, 1) * 0.05, real.logits)  # all good, all alike
    metrics = measure(collapsed, real, sample(80, 3))
    assert metrics["manifold_precision"] > 0.9 and metrics["manifold_recall"] < 0.1
    scattered = ImageFeatures(real.images, gaussian(80, 1) * 5, real.logits)  # around the real ones, but far out
    metrics = measure(scattered, real, sample(80, 3))
    assert metrics["manifold_precision"] < 0.1 and metrics["manifold_recall"] > 0.9


def test_the_discriminator_finds_far_fakes_and_guesses_at_half_on_good_ones():
    names = ["real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1"]
    far = measure(sample(40, 1, shift=4.0), sample(90, 2), sample(200, 3))
    assert [far[name] for name in names] == [1.0, 1.0, 1.0]
    good = measure(sample(40, 1), sample(90, 2), sample(200, 3))  # 90 reals against 20 fakes: weighted, still a half
    assert good["real_or_fake_precision"] == pytest.approx(0.5, abs=0.12)


def test_copied_training_images_are_seen():
    train = sample(60, 3)
    copies = measure(select(train, slice(20)), sample(30, 2), train)
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


def test_images_smaller_than_the_ssim_window_have_no_ssim():
    def small(count, seed):
        images = sample(count, seed)
        return ImageFeatures(images.images[:, :, :8, :8], images.features, images.logits)

    assert measure(small(4, 1), small(4, 2), small(4, 3))["ssim_nearest"] is None


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


def means(key="k"):
    return FeatureExtractor("means", key, True, CountingMeans(), torch.device("cpu"))


def test_real_features_are_computed_once(tmp_path):
    images, extractor, file = sample(6, 0).images, means(), tmp_path / "cache" / "real.safetensors"
    first, second = (real_features(images, extractor, file) for _ in range(2))
    assert extractor.network.calls == 1
    for name in ("images", "features", "logits"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)
    assert [path.name for path in file.parent.iterdir()] == ["real.safetensors"]


def test_a_cache_of_other_content_is_not_used(tmp_path):
    images, file = sample(6, 0).images, tmp_path / "real.safetensors"
    real_features(images, means(), file)
    other = images.clone()
    other[0, 0, 0, 0] += 1
    assert torch.equal(real_features(other, means(), file).features, means()(other)[0])
    renamed = means("another key")
    real_features(other, renamed, file)
    assert renamed.network.calls == 1


@pytest.mark.filterwarnings("ignore:.*is damaged and was set aside.*:UserWarning")  # a flip may carry no value
def test_a_damaged_cache_is_replaced(tmp_path):
    images, file = sample(6, 0).images, tmp_path / "real.safetensors"
    right = real_features(images, means(), file)
    content = file.read_bytes()
    flips = [bytes([*content[:at], content[at] ^ 4, *content[at + 1 :]]) for at in range(0, len(content), 7)]
    for damaged in (b"", content[: len(content) // 2], *flips):
        file.write_bytes(damaged)
        assert torch.equal(real_features(images, means(), file).features, right.features)
    extractor = means()
    real_features(images, extractor, file)
    assert extractor.network.calls == 0 and file.with_name("real.safetensors.damaged").exists()


def test_features_without_logits_are_cached_too(tmp_path):
    extractor = FeatureExtractor("means", "k", False, CountingMeans(), torch.device("cpu"))
    for _ in range(2):
        assert real_features(sample(3, 0).images, extractor, tmp_path / "file").logits is None
    assert extractor.network.calls == 1


def test_sample_grid_keeps_the_pixels_row_by_row(tmp_path):
    images = sample(5, 0).images
    sample_grid(images, tmp_path / "grid.png", columns=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (2 * 18 + 2, 3 * 18 + 2, 3)  # two pixels around each image
    np.testing.assert_array_equal(pixels[20:36, 2:18], images[3].permute(1, 2, 0))
