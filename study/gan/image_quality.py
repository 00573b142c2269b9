"""How good are synthetic images? Distances, precision and recall, copying: features in, numbers out."""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from torchvision.utils import make_grid

from models.feature_extractor import FeatureExtractor
from study.errors import Damaged
from study.gan.metrics import frechet_distance, inception_score, kernel_distance, precision_recall
from study.storage.checkpoint import write_atomically
from study.storage.sealed import read_tensors, warn_and_set_aside, write_tensors

SSIM_WINDOW = 11  # pixels; torchmetrics' default Gaussian window
# An exact copy has no error and an infinite PSNR; an error of 1/12, the variance of rounding to 8 bits, bounds it.
MAX_PSNR = 10 * math.log10(255**2 * 12)  # 58.9 dB


@dataclass(frozen=True)
class ImageFeatures:
    """Images uint8 (N, 3, H, W) with their features float32 (N, D) and logits float32 (N, K) or None, on the CPU."""

    images: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor | None

    def __len__(self):
        return len(self.images)


def image_features(images: torch.Tensor, extractor: FeatureExtractor) -> ImageFeatures:
    """Features of uint8 images (N, 3, H, W)."""
    return ImageFeatures(images.cpu(), *extractor(images))


def real_features(images: torch.Tensor, extractor: FeatureExtractor, cache_file: Path) -> ImageFeatures:
    """`image_features`, read from `cache_file` where that holds these images' features by this extractor.

    The file names its content (pixels and `extractor.key`) and carries a checksum; features of other content, or
    damaged ones, are computed anew.
    """
    content = hashlib.sha256(images.cpu().contiguous().numpy()).hexdigest() + extractor.key
    stored = _read_features(cache_file, content)
    if stored is not None:
        return ImageFeatures(images.cpu(), stored["features"], stored.get("logits"))
    computed = image_features(images, extractor)
    _write_features(cache_file, content, computed)
    return computed


def _read_features(cache_file: Path, content: str) -> dict[str, torch.Tensor] | None:
    try:
        tensors, stored_content = read_tensors(cache_file)
    except FileNotFoundError:
        return None
    except Damaged:
        warn_and_set_aside(cache_file, "the features are computed anew")
        return None
    return tensors if stored_content == content else None


def _write_features(cache_file: Path, content: str, computed: ImageFeatures) -> None:
    tensors = {"features": computed.features, "logits": computed.logits}
    write_tensors(cache_file, {name: tensor for name, tensor in tensors.items() if tensor is not None}, content)


def quality_metrics(
    fake: ImageFeatures, validation: ImageFeatures, train: ImageFeatures, *, extractor_name: str, seed: int = 0
) -> dict[str, float | int | None]:
    """One value for each image-quality column; None where the counts do not allow it, never NaN.

    Real means the validation images, except where training images are named. At few images:

    - `frechet_distance` and `frechet_floor` depend on the counts `num_fake` and `num_real`: compare only equal ones.
      `frechet_floor` is what a perfect generator would score: validation against `num_fake` training images, a seeded
      choice; None where there are fewer training images. `fid` is `frechet_distance` where the extractor is Inception.
    - KID (Binkowski et al. 2018): 100 subsets of half the smaller count, at most 1000; unbiased at any count.
    - Inception score (Salimans et al. 2016): one split, since ten would hold too few images each; bounded by the
      count, so `inception_score_real`, of the validation images, says what a score can mean here.
    - `manifold_*`: Kynkaanniemi et al. (2019), 3 neighbours. `manifold_precision` is the share of synthetic images
      among the real ones, `manifold_recall` the share of real images among the synthetic ones.
    - `real_or_fake_*`: see `_real_or_fake`.
    - `ssim_nearest`, `psnr_nearest` (dB): mean over synthetic images, each against its nearest training image in
      feature space: a GAN has no paired truth. High values mean copied training images; `*_real`, the same for the
      validation images, is the level of images that cannot be copies.
    - `nearest_train_ratio`: median feature distance of synthetic images to their nearest training image, over that of
      validation images; well under 1 means copying.
    """
    # numpy's threads follow torch's: on busy cores two BLAS threads spent 40 times the CPU time of one on KID
    with threadpool_limits(torch.get_num_threads(), user_api="blas"):
        return _quality_metrics(fake, validation, train, extractor_name, seed)


def _quality_metrics(fake, validation, train, extractor_name, seed):
    generator = torch.Generator().manual_seed(seed)
    distance = frechet_distance(fake.features, validation.features) if _enough(2, fake, validation) else None
    fake_nearest, real_nearest = _nearest(fake, train), _nearest(validation, train)
    return {
        "frechet_distance": distance,
        "fid": distance if extractor_name == "inception" else None,
        "frechet_floor": _frechet_floor(len(fake), validation, train, generator),
        **kernel_distance(fake.features, validation.features, seed),
        "inception_score": inception_score(fake.logits),
        "inception_score_real": inception_score(validation.logits),
        **_manifold(fake, validation),
        **_real_or_fake(fake, validation, train, generator),
        **_pairwise(fake, train, fake_nearest, ""),
        **_pairwise(validation, train, real_nearest, "_real"),
        "nearest_train_ratio": _distance_ratio(fake_nearest, real_nearest),
        "num_real": len(validation),
        "num_fake": len(fake),
    }


def _enough(least: int, *sets: ImageFeatures) -> bool:
    return all(len(images) >= least for images in sets)


def _frechet_floor(count, validation, train, generator):
    if len(train) < count or count < 2 or len(validation) < 2:
        return None
    chosen = torch.randperm(len(train), generator=generator)[:count]
    return frechet_distance(train.features[chosen], validation.features)


def _manifold(fake, real):
    scores = precision_recall(fake.features, real.features)
    return {
        "manifold_precision": scores["precision"],
        "manifold_recall": scores["recall"],
        "manifold_f1": scores["f_score"],
    }


def _real_or_fake(fake, validation, train, generator):
    """Precision (images called real that are real), recall (real images found) and F1 of a held-out discriminator.

    A logistic regression on standardised features learns training images against half of the synthetic ones and is
    tested on validation images against the other half. Both sides weigh the same in fit and test, so that the
    precision of a guess is 0.5 at any counts. High means that the fakes are told apart.
    """
    columns = ["real_or_fake_precision", "real_or_fake_recall", "real_or_fake_f1"]
    if not (_enough(2, fake) and _enough(1, validation, train)):
        return dict.fromkeys(columns)
    seen, held_out = fake.features[torch.randperm(len(fake), generator=generator)].tensor_split(2)
    discriminator = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    discriminator.fit(*_labelled(train.features, seen))
    features, is_real = _labelled(validation.features, held_out)
    scores = precision_recall_fscore_support(
        is_real,
        discriminator.predict(features),
        average="binary",
        sample_weight=compute_sample_weight("balanced", is_real),
        zero_division=np.nan,
    )
    return {name: None if np.isnan(score) else float(score) for name, score in zip(columns, scores[:3], strict=True)}


def _labelled(real, fake):
    return torch.cat([real, fake]).numpy(), np.repeat([1, 0], [len(real), len(fake)])


def _nearest(images, train):
    """Distance to, and index of, the nearest training image in feature space."""
    if not _enough(1, images, train):
        return None
    return torch.cdist(images.features.double(), train.features.double()).min(dim=1)


def _pairwise(images, train, neighbours, suffix):
    if neighbours is None or min(images.images.shape[2:]) < SSIM_WINDOW:
        return {f"ssim_nearest{suffix}": None, f"psnr_nearest{suffix}": None}
    # Heavy, and trials of a GAN that is there already do without.
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    ssim, psnr = [], []  # in small batches, which stay in the cache: twice as fast
    for batch, index in zip(images.images.split(8), neighbours.indices.split(8), strict=True):
        pair = batch.float(), train.images[index].float()
        ssim.append(structural_similarity_index_measure(*pair, data_range=255.0, reduction="none").view(-1))
        psnr.append(peak_signal_noise_ratio(*pair, data_range=255.0, reduction="none", dim=(1, 2, 3)))
    return {
        f"ssim_nearest{suffix}": torch.cat(ssim).mean().item(),
        f"psnr_nearest{suffix}": torch.cat(psnr).clamp(max=MAX_PSNR).mean().item(),
    }


def _distance_ratio(fake_nearest, real_nearest):
    if fake_nearest is None or real_nearest is None or real_nearest.values.median() == 0:
        return None
    return (fake_nearest.values.median() / real_nearest.values.median()).item()


def sample_grid(images: torch.Tensor, path: Path, columns: int) -> None:
    """Write synthetic images, uint8 (N, 3, H, W), as one PNG, row by row."""
    grid = make_grid(images.cpu(), nrow=columns, padding=2)  # 3 x H x W
    png = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy()).save(png, format="PNG")
    write_atomically(path, png.getvalue())
