"""The audit of one generator: distances of its images to held-out images, copies, and collapse."""

from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from data_utils.augment import to_uint8
from results.tables.schema import COLLAPSED, COPIES, FINDINGS, HONEST
from study.config import GanConfig
from study.gan.folder import GanFolder
from study.gan.metrics import (
    density_coverage,
    distance_ratio,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from study.gan.sampling import load_generator, sample_grid, sample_images
from study.gan_audit.copying import copy_rate, is_copy, more_copies
from study.gan_audit.diversity import diversity_ratio, has_collapsed, separation_ratio
from study.gan_audit.labels import label_finding
from study.gan_audit.reference import Reference, Sample
from study.training.precision import autocast
from study.training.seeds import derive_seed, make_generator

CLASSES = (0, 1)
COLUMNS = 8  # of closest.png and of interpolation.png
FLOORS = {  # column of real training images in the place of synthetic ones -> column of synthetic ones
    "frechet_floor": "frechet_distance", "kid_floor": "kid_mean", "precision_floor": "precision",
    "recall_floor": "recall", "density_floor": "density", "coverage_floor": "coverage",
}  # fmt: skip
RATIOS = ("diversity_ratio", "diversity_ratio_pixels", "separation_ratio", "separation_ratio_pixels")
SEED = derive_seed(0, "audit")  # independent of the GAN's seed, so that all GANs have the same floors


@dataclass(frozen=True)
class Audit:
    """Rows of GENERATOR_METRICS and NEIGHBOURS, without the columns that name the GAN.

    `order` (N,) sorts the synthetic images by distance to the nearest training image in the features of the first
    extractor. The column `number` of NEIGHBOURS is an image's place in this order.
    """

    metrics: list[dict]
    neighbours: list[dict]
    order: Tensor


def audit_gan(
    config: GanConfig, folder: GanFolder, references: list[Reference], device: torch.device
) -> tuple[Audit, Tensor]:
    """Audit the trained GAN in `folder`; returns the audit and the synthetic images uint8 (N, 3, S, S).

    Each class has as many synthetic images as held-out ones. Two pictures are written into the folder: `closest.png`
    with the 8 images nearest to a training image, nearest first, and `interpolation.png` (see `interpolate`).
    """
    generator = load_generator(config, folder, device)
    labels = references[0].held_out.labels.to(device)
    images = sample_images(generator, labels, config, "audit").cpu()
    audit = audit_images(images, labels, references)
    sample_grid(images[audit.order[:COLUMNS]], folder.closest, COLUMNS)
    sample_grid(interpolate(generator, config, device), folder.interpolation, COLUMNS)
    return audit, images


def audit_images(images: Tensor, labels: Tensor, references: list[Reference]) -> Audit:
    """Audit synthetic images uint8 (N, 3, S, S) of the classes `labels` (N,), in the features of each extractor.

    Each class should have as many images as held-out ones, since distances depend on the counts.
    """
    metrics, neighbours, order = [], [], None
    with threadpool_limits(torch.get_num_threads(), user_api="blas"):  # see study.gan.quality
        for reference in references:
            synthetic = reference.sample(images, labels)
            if order is None:
                order = synthetic.in_features.distance.argsort(stable=True)
            metrics += _metric_rows(synthetic, reference)
            neighbours += _neighbour_rows(synthetic, order, reference)
    return Audit(metrics, neighbours, order)


@torch.no_grad()
def interpolate(generator: nn.Module, config: GanConfig, device: torch.device) -> Tensor:
    """Synthetic images uint8 (16, 3, S, S): 8 of each class along one path between two fixed latent points.

    The path is spherical (Shoemake 1985; White 2016, section 2.1), since normal latent points lie near a sphere.
    """
    draws = make_generator(device, config.seed, "sample", "interpolation")
    start, end = torch.randn(2, config.z_dim, generator=draws, device=device)
    angle = torch.nn.functional.cosine_similarity(start, end, dim=0).acos()
    t = torch.linspace(0, 1, COLUMNS, device=device)[:, None]
    path = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()  # COLUMNS x latent_dim
    labels = torch.tensor(CLASSES, device=device).repeat_interleave(COLUMNS)
    with autocast(config, device):
        return to_uint8(generator(path.repeat(len(CLASSES), 1), labels).float())


def _metric_rows(synthetic: Sample, reference: Reference) -> list[dict]:
    """A row for both classes together and one for each class that has images."""
    held_out, floor = reference.held_out, _floor_choice(synthetic.labels, reference.train_labels)
    by_class = {
        label: _metrics(
            synthetic[synthetic.labels == label],
            held_out[held_out.labels == label],
            reference.train.features[floor[reference.train_labels[floor] == label]],
        )
        for label in CLASSES
        if (synthetic.labels == label).any() and (held_out.labels == label).any()
    }
    overall = _metrics(synthetic, held_out, reference.train.features[floor])
    # Classes always differ from each other, so diversity and collapse are measured within each class.
    for name in ("diversity", "diversity_real", *RATIOS):
        values = [row[name] for row in by_class.values()]
        overall[name] = sum(values) / len(values) if values and None not in values else None
    findings = {finding for row in by_class.values() for finding in row["findings"]} | overall["findings"] - {COLLAPSED}
    scores = reference.label_scores(synthetic), reference.label_scores(held_out)
    agreement = {"label_agreement": scores[0].agreement, "label_agreement_real": scores[1].agreement}
    overall |= agreement | {"findings": findings | {label_finding(*scores)}}
    rows = {None: overall} | {label: row | dict.fromkeys(agreement) for label, row in by_class.items()}
    named = {"feature_extractor": reference.extractor.name}
    return [
        {"verdict": _verdict(row.pop("findings")), "label": label} | named | row for label, row in rows.items()
    ]


def _floor_choice(labels: Tensor, train_labels: Tensor) -> Tensor:
    """Places of training images: as many of each class as in `labels`, or none of a class that has fewer."""
    draws, chosen = torch.Generator().manual_seed(SEED), []
    for label in CLASSES:
        places, count = (train_labels == label).nonzero()[:, 0], int((labels == label).sum())
        if count <= len(places):
            chosen.append(places[torch.randperm(len(places), generator=draws)[:count]])
    return torch.cat(chosen) if chosen else train_labels[:0]


def _metrics(synthetic: Sample, held_out: Sample, floor: Tensor) -> dict:
    real = held_out.features
    spreads = synthetic.spreads(), held_out.spreads()
    copies = [is_copy(sample.in_features, sample.in_pixels) for sample in (synthetic, held_out)]
    flags = {COPIES: more_copies(*copies), COLLAPSED: has_collapsed(*spreads)}
    within, within_real = (sides["features"] for sides in spreads)
    in_pixels = [sides["pixels"] for sides in spreads]
    floors = _distances(floor if len(floor) == len(synthetic) else floor[:0], real)
    return {
        "num_real": len(held_out),
        "num_fake": len(synthetic),
        **_distances(synthetic.features, real),
        **{column: floors[name] for column, name in FLOORS.items()},
        "inception_score": inception_score(synthetic.logits),
        "inception_score_real": inception_score(held_out.logits),
        "nearest_train_ratio": distance_ratio(synthetic.in_features.distance, held_out.in_features.distance),
        "nearest_train_ratio_pixels": distance_ratio(synthetic.in_pixels.distance, held_out.in_pixels.distance),
        "copy_rate": copy_rate(synthetic.in_features, held_out.in_features),
        "copy_rate_pixels": copy_rate(synthetic.in_pixels, held_out.in_pixels),
        "copied_share": copies[0].double().mean().item(),
        "copied_share_real": copies[1].double().mean().item(),
        "diversity": within.mean if within else None,
        "diversity_real": within_real.mean if within_real else None,
        "diversity_ratio": diversity_ratio(within, within_real),
        "diversity_ratio_pixels": diversity_ratio(*in_pixels),
        "separation_ratio": separation_ratio(within, within_real),
        "separation_ratio_pixels": separation_ratio(*in_pixels),
        "findings": {finding for finding, found in flags.items() if found},
    }


def _distances(fake: Tensor, real: Tensor) -> dict[str, float | None]:
    prc = precision_recall(fake, real)
    return {
        "frechet_distance": frechet_distance(fake, real),
        **kernel_distance(fake, real, SEED % 2**32),
        "precision": prc["precision"],
        "recall": prc["recall"],
        **density_coverage(fake, real),
    }


def _verdict(findings: set[str]) -> str:
    return "; ".join(finding for finding in FINDINGS if finding in findings) or HONEST


def _neighbour_rows(synthetic: Sample, order: Tensor, reference: Reference) -> list[dict]:
    numbers = order.argsort().tolist()
    kinds = [("synthetic", synthetic, numbers, [None] * len(synthetic))]
    held_out = reference.held_out
    kinds.append(("held_out", held_out, [None] * len(held_out), reference.held_out_ids))
    return [
        {
            "feature_extractor": reference.extractor.name,
            "kind": kind,
            "number": numbers[i],
            "label": int(sample.labels[i]),
            "image_id": image_ids[i],
            "nearest_image_id": reference.train_ids[sample.in_features.index[i]],
            "nearest_image_id_pixels": reference.train_ids[sample.in_pixels.index[i]],
            "feature_distance": sample.in_features.distance[i].item(),
            "pixel_distance": sample.in_pixels.distance[i].item(),
        }
        for kind, sample, numbers, image_ids in kinds
        for i in range(len(sample))
    ]
