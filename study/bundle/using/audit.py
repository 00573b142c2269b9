"""Generated images against the training images of a study that is at hand: do they copy, do they collapse?"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_utils.dataset import load_dataset
from data_utils.errors import DataError
from models.inception import ExtractorUnavailable
from study.bundle.folder import Bundle
from study.bundle.networks import load_generator
from study.bundle.using.synthetic import Request, synthetic_images
from study.config import make_config
from study.errors import ConfigError
from study.gan_audit.audit import audit_images
from study.gan_audit.reference import Reference, seen_by
from study.gan_audit.study import build_extractors, impartial
from study.trial.record import prepared_file

REPORT = "audit.json"


@dataclass(frozen=True)
class Sample:
    """Synthetic images uint8 (N, 3, S, S), labels (N,), and what they are compared with."""

    images: Tensor
    labels: Tensor
    references: list[Reference]


def audit_sample(bundle: Bundle, request: Request, engine: str, study: Path) -> Sample:
    """The first images of a request, of each class as many as the study's validation side holds, and its real images.

    Distances depend on the counts. Raises ConfigError where the request is too small, or the study holds other data
    than the bundle was trained on.
    """
    config = make_config(bundle.config)
    path = prepared_file(study, bundle.about["trial"]["data_fingerprint"])
    try:
        dataset = load_dataset(path, config.image_size)
    except DataError as error:
        raise ConfigError(str(error)) from None
    images, labels = first_images(bundle, request, engine, dataset.side("validation").labels.numpy())
    seen = seen_by(config, dataset)
    try:
        extractors = build_extractors(config, path.parent, torch.device("cpu"))
    except ExtractorUnavailable as error:
        raise ConfigError(str(error)) from None
    references = [Reference(seen, extractor) for extractor in extractors]
    return Sample(torch.from_numpy(images), torch.from_numpy(labels), impartial(references, config))


def write_audit(sample: Sample, out: Path) -> str:
    """Write `audit.json` into the folder of the images; returns the verdict on all of them together.

    Images of one class are held against that class alone, and their label is not judged.
    """
    metrics, labels = audit_images(sample.images, sample.labels, sample.references).metrics, sample.labels.unique()
    if len(labels) == 1:
        metrics = [row for row in metrics if row["label"] == labels.item()]
    (out / REPORT).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    verdict = "; ".join(sorted({row["verdict"] for row in metrics if len(labels) == 1 or row["label"] is None}))
    return verdict if len(labels) > 1 else f"{verdict}, but labels were not judged, with one class alone"


def first_images(
    bundle: Bundle, request: Request, engine: str, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3, S, S) and labels (N,): of each class of the request as many as `held_out` labels have."""
    wanted = {label: int((held_out == label).sum()) for label in (0, 1) if request.label in (None, label)}
    images, labels = [], []
    for _, label, pixels in synthetic_images(load_generator(bundle, engine), bundle.z_dim, request):
        if labels.count(label) < wanted[label]:
            images.append(pixels.transpose(2, 0, 1))
            labels.append(label)
        if len(labels) == sum(wanted.values()):
            return np.stack(images), np.array(labels)
    raise ConfigError(
        f"--audit needs at least {sum(wanted.values())} images, as many of each class as the validation side holds; "
        "use a larger --count"
    )
