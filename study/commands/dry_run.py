"""What `--dry-run` prints: the resolved config, the search space, the resources, and an estimate of the time."""

import math
import os
import time
from argparse import Namespace

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.generator import parameter_count
from study.config import TrialConfig
from study.diagnosis.train import new_classifier
from study.gan.footprint import bytes_and_largest_batch
from study.gan.networks import new_critic, new_generator
from study.gan.step import training_class
from study.progress.display import words
from study.search.finalists import REPEATS, num_finalists
from study.search.proposer import NEW_GAN_EVERY
from study.search.space import NUISANCE, SCIENTIFIC, Choice, paper_configurations, system_configs
from study.settings import StudySettings

# What small convolutions reach, with everything around them, of the measured speed of float32 matrix products. On two
# cores with AMX the smoke study's GANs took 0.9 to 1.4 times the estimate, each alone; it was not compared on a GPU.
EFFICIENCY = {"float32": 0.25, "bfloat16": 0.75}
FLOPS_OF_FEATURES = {"efficientnet_lite0": 0.8e9, "inception": 11.4e9}  # of an image; others as Inception
GIB = 2**30
USUAL_GPU = 24 * GIB  # if there is none here
START_S = 20  # of Ray, and of the first trial


def describe_plan(settings: StudySettings, counts: dict, trials: int, options: Namespace) -> str:
    """The text of `--dry-run`; `counts` are the prepared images by side of the split."""
    base, fixed = settings.base, settings.fixed
    lines = ["", "config of every trial, before the search (* fixed)"]
    lines += [f"  {name:<22} {value}{' *' if name in fixed else ''}" for name, value in base.model_dump().items()]
    return "\n".join([*lines, "", *_space(base, fixed), "", *_cost(settings, counts, trials, options)])


def _space(base: TrialConfig, fixed: dict) -> list[str]:
    lines = ["search space (without the fixed fields)"]
    for role, part in (("scientific", SCIENTIFIC), ("nuisance", NUISANCE)):
        for name, domain in part.items():
            if name not in fixed:
                lines.append(f"  {role:<10} {name:<16} {_domain(domain, getattr(base, name))}")
    return [*lines, f"  the paper's {len(paper_configurations(base, fixed))} configurations come first"]


def _domain(domain, value) -> str:
    scale = value if domain.relative else 1.0
    if isinstance(domain, Choice):
        return ", ".join(str(v if isinstance(v, str) else f"{v * scale:g}") for v in domain.values)
    return f"{domain.low * scale:.3g} to {domain.high * scale:.3g}{', log scale' if domain.relative else ''}"


def _cost(settings: StudySettings, counts: dict, trials: int, options: Namespace) -> list[str]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base, paper = settings.base, paper_configurations(settings.base, settings.fixed)
    systems = list(system_configs(base, settings.systems).values())
    every = 1 if settings.objective == "frechet" else NEW_GAN_EVERY
    new_gans = min(trials, len(paper)) + math.ceil(max(0, trials - len(paper)) / every)
    speed = matmul_flops(device)
    num_train = sum(counts["train"])
    searched = [base.model_copy(update=values) for values in paper]
    configs = [*systems, *searched]
    lines = [f"resources: this machine has {os.cpu_count()} CPUs, {torch.cuda.device_count()} GPUs"
             f" ({speed / 1e9:.0f} GFLOP/s measured),",
             f"  {options.workers_per_trial} worker(s) a trial",
             "", "estimate (within a factor of two; nothing was run)"]
    seconds = [gan_flops(config, num_train) / (speed * EFFICIENCY[config.precision]) for config in configs]
    memory, batches = zip(*(bytes_and_largest_batch(config, gpu_bytes()) for config in configs), strict=True)
    for config, cost, taken in zip(configs, seconds, memory, strict=True):
        size = parameter_count(new_generator(config)) / 1e6
        name = f"{config.system:<22}"
        lines.append(f"  GAN {name}  {size:6.2f} M parameters  {taken / 1e9:5.2f} GB  {words(cost)}")
    room = f"{gpu_bytes() / GIB:.0f} GiB (float32, counted)"
    lines.append(f"  gan_batch_size up to about {min(batches)} fits into {room}")
    classifier = classifier_flops(base, num_train) / (speed * EFFICIENCY["float32"])
    measuring = measuring_flops(base) / speed
    repeats = 0 if settings.objective == "frechet" else num_finalists(trials) * REPEATS
    total = START_S + sum(seconds[: len(systems)]) + new_gans * sum(seconds[len(systems) :]) / len(searched)
    total += (len(systems) + new_gans) * measuring + (trials + 1 + len(systems) + repeats) * classifier
    return [*lines, f"  measuring a GAN {words(measuring)}, a classifier {words(classifier)}",
            f"  {trials} trials with {new_gans} GANs, the baseline, {len(systems)} systems, {repeats} repeats of the "
            f"best: {words(total)}"]


def gpu_bytes() -> int:
    """Memory of this machine's GPU, or of a common one."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else USUAL_GPU


def gan_flops(config: TrialConfig, num_train: int) -> float:
    """Floating-point operations of a GAN's training, computed from those of one image's forward passes."""
    passes = zip(training_class(config).forward_passes(config), forward_flops(config), strict=True)
    return config.gan_epochs * num_train * sum(count * flops for count, flops in passes)


def measuring_flops(config: TrialConfig) -> float:
    """Of a GAN's Frechet distances, and of its FID at the end."""
    times = {config.feature_extractor: config.gan_epochs / config.gan_eval_interval}
    times["inception"] = times.get("inception", 0) + config.measure_fid
    most = FLOPS_OF_FEATURES["inception"]
    return config.eval_images * sum(count * FLOPS_OF_FEATURES.get(name, most) for name, count in times.items())


def classifier_flops(config: TrialConfig, num_train: int) -> float:
    images = config.classifier_epochs * num_train * (1 + config.synthetic_ratio)
    with torch.device("meta"):
        model = new_classifier(config, load_weights=False).eval()
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        return 3 * images * _count(model, image)


def forward_flops(config: TrialConfig) -> tuple[float, float]:
    """Of one image through generator and critic."""
    with torch.device("meta"):
        label = torch.zeros(1, dtype=torch.long)
        generator = new_generator(config.model_copy(update={"pretrained": False})).eval()
        critic = new_critic(config)
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        return _count(generator, torch.zeros(1, config.z_dim), label), _count(critic, image, label)


@torch.no_grad()
def _count(model: torch.nn.Module, *inputs: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops()


def matmul_flops(device: str, size: int = 1024, repeats: int = 8) -> float:
    """Measured float32 floating-point operations a second of a matrix product."""
    a = torch.randn(size, size, device=device)
    (a @ a).sum().item()
    started = time.perf_counter()
    for _ in range(repeats):
        b = a @ a
    b.sum().item()
    return 2 * size**3 * repeats / (time.perf_counter() - started)

