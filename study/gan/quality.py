"""How good a GAN's images are, against the real images of its data set."""

import math
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from torch import Tensor

from data_utils.dataset import Dataset
from models.feature_extractor import FeatureExtractor, build_feature_extractor
from models.inception import has_inception
from study.config import GanConfig
from study.gan.features import ImageFeatures, image_features, side_features
from study.gan.metrics import distance_ratio, frechet_distance, inception_score, kernel_distance, precision_recall

INCEPTION_FILE = "inception-weights.pth"
# An exact copy has no error and an infinite PSNR; an error of 1/12, the variance of rounding to 8 bits, bounds it.
MAX_PSNR = 10 * math.log10(255**2 * 12)  # 58.9 dB


def inception_weights(prepared_folder: Path) -> Path | None:
    """The Inception weights that `--inception-weights` put beside the prepared data, if any."""
    path = prepared_folder / INCEPTION_FILE
    return path if path.exists() else None


class GanQuality:
    """Measures synthetic images against the validation and training images of a data set.

    Network and real images' features are loaded at the first measurement. `seconds` is the time spent on measuring so
    far, without this loading.
    """

    def __init__(self, config: GanConfig, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.seconds, self.latest = 0.0, None

    @property
    def num_real(self) -> int:
        return int((self.dataset.split == "validation").sum())

    @cached_property
    def extractor(self) -> FeatureExtractor:
        weights = inception_weights(self.dataset.path.parent)
        return build_feature_extractor(self.config.feature_extractor, weights, self.dataset.images.device)

    @cached_property
    def validation(self) -> ImageFeatures:
        return side_features(self.dataset, "validation", self.extractor)

    @cached_property
    def train(self) -> ImageFeatures:
        return side_features(self.dataset, "train", self.extractor)

    @cached_property
    def mirrored_train(self) -> ImageFeatures:
        return side_features(self.dataset, "train", self.extractor, "mirrored")

    @cached_property
    def noisy_train(self) -> ImageFeatures:
        """Training images with noise: what any generator should be better than."""
        return side_features(self.dataset, "train", self.extractor, "noisy")

    def features(self, images: Tensor) -> ImageFeatures:
        """Features of synthetic images uint8 (N, 3, S, S); the last images' are kept, which are measured twice."""
        if self.latest is None or not torch.equal(self.latest.images, images.cpu()):
            self.latest = image_features(images, self.extractor)
        return self.latest

    def frechet_distance(self, fake: Tensor) -> float:
        """The Frechet distance of synthetic images uint8 (N, 3, S, S) to the validation images."""
        self.validation  # noqa: B018  loaded before the clock starts
        started = time.perf_counter()
        distance = frechet_distance(self.features(fake).features, self.validation.features)
        self.seconds += time.perf_counter() - started
        return distance

    def final_metrics(self, fake: Tensor) -> dict:
        """All image-quality columns of a finished GAN."""
        reals, noisy = (self.validation, self.train, self.mirrored_train), self.noisy_train
        started = time.perf_counter()
        # numpy's threads follow torch's: on busy cores two BLAS threads took 40 times the CPU time of one for the KID
        with threadpool_limits(torch.get_num_threads(), user_api="blas"):
            metrics = quality_metrics(self.features(fake), *reals)
            seed = torch.Generator().manual_seed(0)  # the images of the floor
            metrics["frechet_noisy_real"] = _frechet_floor(len(fake), self.validation, noisy, seed)
        self.seconds += time.perf_counter() - started
        return metrics | self.fid_columns(fake)

    @cached_property
    def inception(self) -> FeatureExtractor | None:
        """The FID's network; None where the config does without, or its weights are not at hand."""
        weights = inception_weights(self.dataset.path.parent)
        if self.config.feature_extractor == "inception":
            return self.extractor
        if not (self.config.measure_fid and has_inception(weights)):
            return None
        return build_feature_extractor("inception", weights, self.dataset.images.device)

    @cached_property
    def inception_reals(self) -> tuple[ImageFeatures, ImageFeatures]:
        """Inception's features of the validation and of the training images."""
        validation, train = (side_features(self.dataset, side, self.inception) for side in ("validation", "train"))
        return validation, train

    def fid_columns(self, fake: Tensor) -> dict[str, float | None]:
        """The FID (Heusel et al. 2017) and KID of synthetic images uint8 (N, 3, S, S), to be compared at equal counts.

        `fid` is against the validation images, `fid_train` against the training images, as most papers report it. The
        floors are those of as many real images: training images against validation, and validation images against
        training, of which there may be too few.
        """
        if self.inception is None:
            return dict.fromkeys(("fid", "fid_floor", "fid_train", "fid_train_floor", "fid_kid", "fid_seconds"))
        validation, train = self.inception_reals
        started = time.perf_counter()
        features = self.inception(fake)[0]
        with threadpool_limits(torch.get_num_threads(), user_api="blas"):
            return {
                "fid": frechet_distance(features, validation.features),
                "fid_floor": _frechet_floor(len(fake), validation, train, torch.Generator().manual_seed(0)),
                "fid_train": frechet_distance(features, train.features),
                "fid_train_floor": _frechet_floor(len(fake), train, validation, torch.Generator().manual_seed(0)),
                "fid_kid": kernel_distance(features, validation.features, 0)["kid_mean"],
                "fid_seconds": time.perf_counter() - started,
            }


def quality_metrics(
    fake: ImageFeatures, validation: ImageFeatures, train: ImageFeatures, mirrored: ImageFeatures, seed: int = 0
) -> dict[str, float | int | None]:
    """The image-quality columns; None where there are too few images, never NaN.

    "Real" means the validation images, unless training images are named; `mirrored` are those, mirrored.

    - `frechet_distance` and `frechet_floor` depend on the counts `num_fake` and `num_real`: compare only equal ones.
      `frechet_floor` is what a perfect generator would score: `num_fake` training images, a seeded choice, against
      validation.
    - KID (Binkowski et al. 2018): 100 subsets of half the smaller count, at most 1000; unbiased at any count.
    - Inception score (Salimans et al. 2016) in one split, since ten would hold too few images each. The count bounds
      it: `inception_score_real`, the score of the validation images, shows what can be reached.
    - `manifold_precision`, `manifold_recall`: `study.gan.metrics.precision_recall`; `manifold_f1`: their F1.
    - `real_or_fake_*`: see `_real_or_fake`.
    - `ssim_nearest`, `psnr_nearest` (dB): mean over synthetic images, each against its nearest training image, mirrored
      or not, in feature space, since a GAN's images have no paired truth. High values mean copied training images.
      `*_real` is the same for the validation images, which cannot be copies.
    - `nearest_train_ratio`: median feature distance of synthetic images to their nearest training image, over that of
      validation images; well under 1 means copying.
    """
    generator = torch.Generator().manual_seed(seed)
    prc = precision_recall(fake.features, validation.features)
    fake_nearest, real_nearest = (_nearest(images, train, mirrored) for images in (fake, validation))
    return {
        "frechet_distance": frechet_distance(fake.features, validation.features),
        "frechet_floor": _frechet_floor(len(fake), validation, train, generator),
        **kernel_distance(fake.features, validation.features, seed),
        "inception_score": inception_score(fake.logits),
        "inception_score_real": inception_score(validation.logits),
        "manifold_precision": prc["precision"],
        "manifold_recall": prc["recall"],
        "manifold_f1": prc["f_score"],
        **_real_or_fake(fake, validation, train, generator),
        **_likeness(fake.images, fake_nearest[1], ""),
        **_likeness(validation.images, real_nearest[1], "_real"),
        "nearest_train_ratio": distance_ratio(fake_nearest[0], real_nearest[0]),
        "num_real": len(validation),
        "num_fake": len(fake),
    }


def _nearest(images: ImageFeatures, train: ImageFeatures, mirrored: ImageFeatures) -> tuple[Tensor, Tensor]:
    """Distance (N,) in feature space to the nearest training image, mirrored or not, and that image (N, 3, H, W)."""
    either_way = torch.cat([train.features, mirrored.features]).double()
    distances, places = torch.cdist(images.features.double(), either_way).min(dim=1)
    rows, as_it_is = places % len(train), places < len(train)
    return distances, torch.where(as_it_is.view(-1, 1, 1, 1), train.images[rows], mirrored.images[rows])


def _frechet_floor(count: int, reference: ImageFeatures, others: ImageFeatures, generator) -> float | None:
    """The distance of `count` other real images, a seeded choice, to the reference; None where there are fewer."""
    if len(others) < count:
        return None
    chosen = torch.randperm(len(others), generator=generator)[:count]
    return frechet_distance(others.features[chosen], reference.features)


def _real_or_fake(fake: ImageFeatures, validation: ImageFeatures, train: ImageFeatures, generator) -> dict:
    """Precision (images called real that are real), recall (real images found) and F1 of a discriminator.

    A logistic regression on standardised features learns to tell training images from half of the synthetic ones. It
    is tested on validation images and the other half. Both sides weigh the same in fit and test, so that guessing has
    a precision of 0.5 at any counts. High values mean that synthetic images are recognised.
    """
    seen, held_out = fake.features[torch.randperm(len(fake), generator=generator)].tensor_split(2)
    discriminator = new_discriminator().fit(*labelled(train.features, seen))
    features, is_real = labelled(validation.features, held_out)
    weights = compute_sample_weight("balanced", is_real)
    scores = precision_recall_fscore_support(
        is_real, discriminator.predict(features), average="binary", sample_weight=weights, zero_division=np.nan
    )
    names = ("real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1")
    return {name: None if np.isnan(score) else float(score) for name, score in zip(names, scores[:3], strict=True)}


def new_discriminator() -> Pipeline:
    """A logistic regression on standardised features, to both sides of which the same weight is given."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))


def labelled(real: Tensor, fake: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features of both sides, one after the other, and whether they are real."""
    return torch.cat([real, fake]).numpy(), np.repeat([1, 0], [len(real), len(fake)])


def _likeness(images: Tensor, nearest: Tensor, suffix: str) -> dict[str, float]:
    """Mean SSIM and PSNR of images to their nearest training images, both uint8 (N, 3, H, W)."""
    # Heavy to import, and not needed by trials that reuse a GAN.
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    ssim, psnr = [], []  # in small batches, which stay in the cache: twice as fast
    for batch in zip(images.split(8), nearest.split(8), strict=True):
        pair = tuple(side.float() for side in batch)
        ssim.append(structural_similarity_index_measure(*pair, data_range=255.0, reduction="none").view(-1))
        psnr.append(peak_signal_noise_ratio(*pair, data_range=255.0, reduction="none", dim=(1, 2, 3)))
    return {
        f"ssim_nearest{suffix}": torch.cat(ssim).mean().item(),
        f"psnr_nearest{suffix}": torch.cat(psnr).clamp(max=MAX_PSNR).mean().item(),
    }
