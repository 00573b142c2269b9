"""How often the audit accuses honest images, and how often it misses a generator whose fault is known.

python benchmarks/leakage/alarms.py --data FOLDER --positive NAME [--negative NAME] [--honest 20] [--planted 2]

The photographs are prepared as a study does. For each try their groups are shuffled: 40 % are training images, 30 %
held-out ones and 30 % unseen. Of the last, as many of each class as held-out images are audited as if a generator had
made them (`honest`), or are turned into one with a fault. Sizes are numbers of audited images, half of each class;
generators with a fault are tried at one. Lines are printed as they come to stderr. Features are EfficientNet-Lite0's,
computed once for each image. Without --data the photographs are rendered phantoms.
"""

import hashlib
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.leakage.planted import FAULTS, HONEST_SUBSET, Fault, Material
from data_utils.dataset import Dataset, load_dataset
from data_utils.prepare import prepare
from models.feature_extractor import FeatureExtractor, build_feature_extractor
from results.tables.schema import HONEST
from study.gan_audit.audit import audit_images
from study.gan_audit.reference import Reference

SHARES = {"train": 0.4, "validation": 0.3, "test": 0.3}  # of the groups; "test" are the unseen ones


class Remembering(nn.Module):
    """A network that computes each image's features once."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.known = network, {}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        keys = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images.contiguous()]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        if new:
            found = zip(*self.network(images[list(new.values())]), strict=True)
            self.known |= dict(zip(new, found, strict=True))
        features, logits = zip(*(self.known[key] for key in keys), strict=True)
        return torch.stack(features), torch.stack(logits)


def remembering(extractor: FeatureExtractor) -> FeatureExtractor:
    return replace(extractor, network=Remembering(extractor.network))


def shuffled(dataset: Dataset, size: int, seed: int) -> Dataset:
    """New sides of whole groups, with `size` held-out images, half of each class, or as many as there are."""
    draws = np.random.default_rng(seed)
    names, codes = np.unique(dataset.groups.astype(str), return_inverse=True)
    places = draws.permutation(len(names))[codes] / len(names)
    split = np.array(list(SHARES), dtype=object)[np.searchsorted(np.cumsum(list(SHARES.values())), places, "right")]
    labels = dataset.labels.numpy()
    for label in (0, 1):
        held_out = draws.permutation(np.flatnonzero((split == "validation") & (labels == label)))
        split[held_out[size // 2 :]] = "spare"
    return replace(dataset, split=split)


def verdict(dataset: Dataset, extractor: FeatureExtractor, fault: Fault, seed: int) -> str:
    """What the audit says of a generator with this fault."""
    train, unseen, labels = dataset.side("train"), dataset.side("test"), dataset.side("validation").labels
    material = Material(train.images, train.labels, unseen.images, unseen.labels)
    images = fault(material, labels, np.random.default_rng(seed))
    return audit_images(images, labels, [Reference(dataset, extractor)]).metrics[0]["verdict"]


def tried(dataset: Dataset, extractor: FeatureExtractor, fault: Fault, size: int, seeds: range) -> Counter:
    """How often each verdict is given."""
    return Counter(verdict(shuffled(dataset, size, seed), extractor, fault, seed) for seed in seeds)


def main(arguments: list[str] | None = None) -> None:
    defaults = {"data": None, "positive": "", "negative": "", "sizes": "64 150 300", "honest": 20}
    parser = benchmark_parser(__doc__, "few small tries", **defaults, planted=2, planted_size=150, image_size=64)
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.honest, options.planted, options.planted_size, options.image_size = "64", 2, 1, 64, 32
    torch.set_num_threads(1)
    extractor = remembering(build_feature_extractor("efficientnet_lite0"))
    classes = {"positive": options.positive or None, "negative": options.negative or None}
    started, lines, verdicts = time.perf_counter(), [], {}
    with tempfile.TemporaryDirectory() as folder:
        path = prepare(options.data, Path(folder), image_size=options.image_size, **classes).path
        dataset = load_dataset(path, options.image_size)
        for name, (expected, fault) in {"honest": HONEST_SUBSET, **FAULTS}.items():
            honest = expected == HONEST
            seeds = range(options.honest if honest else options.planted)
            for size in map(int, options.sizes.split()) if honest else [options.planted_size]:
                given = tried(dataset, extractor, fault, size, seeds)
                wrong = sum(count for text, count in given.items() if expected not in text)
                lines.append((f"{name}, {size}", f"{wrong} of {len(seeds)} {'accused' if honest else 'missed'}", ""))
                verdicts[f"{name}, {size}"] = dict(given)
                print(*lines[-1], dict(given), file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    report(lines, vars(options) | {"verdicts": verdicts, "seconds": seconds})


if __name__ == "__main__":
    main()
