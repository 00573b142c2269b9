"""A generator's Frechet distance during a study, against torch-fidelity called by hand.

python benchmarks/frechet.py [--images 320] [--train-images 1490] [--device cuda]

- evaluation: synthetic images' EfficientNet-Lite0 features and the distance to real images whose features are cached,
  over `torch_fidelity.calculate_metrics` on both sets of images by the same network in batches of the same size. Less
  is better.
- statistics: the distance of N features of width D to N others, times faster than torch-fidelity's. Theirs grows with
  D, ours with N: what makes up most of it is the singular values of an N x N matrix.
- values: the greatest relative difference of the distances in this run.
- share: one evaluation (sampling, features, distance) of the time from one to the next at the `search` preset, with
  as many training images as --train-images; epochs are measured on a part of them and scaled.
"""

import argparse
from functools import partial

import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Subset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, show, speedup, take_turns
from data_utils.dataset import Side
from models.feature_extractor import FeatureExtractor, build_feature_extractor, efficientnet_lite
from study.config import make_config, preset
from study.gan.metrics import frechet_distance
from study.gan.sampling import sample_images
from study.gan.step import build_training
from study.training.memory import keep_freed_memory

BATCH = 32  # of torch-fidelity
STATISTICS = ((320, 1280), (500, 1280), (500, 2048))  # N, D; 320 is the `search` preset's, 1280 EfficientNet-Lite0's
EPOCH_BATCHES = 6


class Lite0(FeatureExtractorBase):
    """EfficientNet-Lite0 as torch-fidelity's users register a network of their own."""

    def __init__(self, name: str, features_list: list[str], **_):
        super().__init__(name, features_list)
        self.network = efficientnet_lite(0)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("1280",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "1280"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images)[0],)


def smooth_images(count: int, size: int, seed: int) -> Tensor:
    """uint8 (count, 3, size, size): blurred noise, so that the two sets have features of some spread."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4 + seed, 4 + seed, generator=draws)
    return (torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear") * 255).to(torch.uint8)


def by_hand(fake: Tensor, real: Tensor, device: str) -> float:
    """torch-fidelity's distance, all of it computed; in this process, since worker processes would only cost here."""
    input1, input2 = (Subset(images, range(len(images))) for images in (fake, real))  # it asks for a Dataset
    metrics = torch_fidelity.calculate_metrics(
        input1=input1, input2=input2, fid=True, feature_extractor="lite0", batch_size=BATCH,
        cuda=device.startswith("cuda"), cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    return metrics["frechet_inception_distance"]


def cached(fake: Tensor, real_features: Tensor, extractor: FeatureExtractor) -> float:
    """The distance as a study has it."""
    return frechet_distance(extractor(fake)[0], real_features)


def statistics_by_hand(fake: Tensor, real: Tensor) -> float:
    statistics = fid_features_to_statistics(fake.double()), fid_features_to_statistics(real.double())
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def relative_difference(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / abs(theirs)


def measure_evaluation(options: argparse.Namespace) -> tuple[dict, float]:
    """How many times faster one evaluation is, and the relative difference of the two distances."""
    fake, real = (smooth_images(options.images, 64, seed) for seed in (1, 2))
    extractor = build_feature_extractor("efficientnet_lite0", None, options.device)
    real_features = extractor(real)[0]
    sides = {
        "by hand": partial(by_hand, fake, real, options.device),
        "cached": partial(cached, fake, real_features, extractor),
    }
    difference = relative_difference(sides["cached"](), sides["by hand"]())
    seconds = take_turns(sides, options.turns, options.device)
    return speedup(seconds["by hand"], seconds["cached"]), difference


def measure_statistics(count: int, width: int, turns: int) -> tuple[dict, float]:
    draws = torch.Generator().manual_seed(0)
    fake, real = torch.rand(count, width, generator=draws), torch.rand(count, width, generator=draws).square()
    sides = {"by hand": partial(statistics_by_hand, fake, real), "ours": partial(frechet_distance, fake, real)}
    difference = relative_difference(sides["ours"](), sides["by hand"]())
    seconds = take_turns(sides, turns)
    return speedup(seconds["by hand"], seconds["ours"]), difference


def measure_share(options: argparse.Namespace, settings: dict) -> float:
    """The share that evaluation takes of the time from one evaluation to the next."""
    device = torch.device(options.device)
    config = make_config(preset("search") | {"feature_extractor": "efficientnet_lite0"} | settings)
    training = build_training(config, device)
    extractor = build_feature_extractor(config.feature_extractor, None, device)
    count = EPOCH_BATCHES * config.gan_batch_size
    images = smooth_images(count, config.image_size, 1).to(device)
    train = Side(images, torch.arange(count, device=device) % 2, None, None)
    labels = torch.arange(config.eval_images, device=device) % 2
    real_features = extractor(smooth_images(options.images, config.image_size, 2))[0]

    def evaluate() -> float:
        return cached(sample_images(training.ema, labels, config, "evaluation"), real_features, extractor)

    sides = {"epoch": lambda: training.run_epoch(train, 1), "evaluation": evaluate}
    seconds = {name: min(times) for name, times in take_turns(sides, options.turns, options.device).items()}
    interval = seconds["epoch"] * config.gan_eval_interval * options.train_images / count
    return seconds["evaluation"] / (seconds["evaluation"] + interval)


def inverse(speed: dict[str, float]) -> dict[str, float]:
    """A share of the time from times faster."""
    return {"ratio": 1 / speed["ratio"], "low": 1 / speed["high"], "high": 1 / speed["low"]}


def main(arguments: list[str] | None = None) -> None:
    defaults = {"images": 320, "train_images": 1490, "turns": 3, "device": "cpu"}
    parser = benchmark_parser(__doc__, "few images and features", **defaults)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="of the GAN's epoch")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings, shapes = {"precision": options.precision}, STATISTICS
    if options.quick:
        options.images, options.turns, shapes = 8, 1, ((16, 64),)
        settings |= {"image_size": 32, "decoder_width": 16, "critic_width": 8, "lstm_width": 8, "eval_images": 16}
    if "lite0" not in torch_fidelity.registry.FEATURE_EXTRACTORS_REGISTRY:
        torch_fidelity.register_feature_extractor("lite0", Lite0)
    evaluation, difference = measure_evaluation(options)
    statistics = {f"N {count}, D {width}": measure_statistics(count, width, options.turns) for count, width in shapes}
    greatest = max(difference, *(found[1] for found in statistics.values()))
    share = measure_share(options, settings)
    report(
        [
            ("evaluation, of torch-fidelity's time", show(inverse(evaluation)), "<= 0.55"),
            *[
                (f"statistics, {shape}, times", show(found[0]), ">= 50")
                for shape, found in statistics.items()
            ],
            ("greatest relative difference", f"{greatest:.1e}", "<= 1e-5"),
            ("share of a search GAN's time", f"{share:.3f}", "<= 0.10"),
        ],
        {
            **vars(options), "evaluation": inverse(evaluation), "difference": greatest, "share": share,
            "statistics": {shape: found[0] for shape, found in statistics.items()},
        },
        options.device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
