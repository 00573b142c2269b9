"""Images a second from a trained generator, one at a time and in batches, against the plain network.

python benchmarks/generation.py [--device cuda] [--batch 64] [--turns 7] [--backbone plain]

All sides make the same images of the same noise at the `paper` preset, with uint8 pixels at the end: the generator as
it was trained (float32, evaluation mode), and what a study samples with (`models.inference`) in float32 and in
bfloat16. The ratios are times faster than the plain network. bfloat16 rounds: its mean difference is given in levels
of 255.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, show, speedup, take_turns
from data_utils.augment import to_uint8
from models.generator import GENERATORS
from models.inference import for_inference
from study.config import GanConfig, make_config, preset
from study.gan.networks import new_generator
from study.training.memory import keep_freed_memory

TINY = {"image_size": 32, "latent_dim": 8, "lstm_width": 16, "decoder_width": 16, "backbone_width": 0.25,
        "backbone_depth": 0.25}  # fmt: skip
PAPER_PER_SECOND = {"one image": 25, "a batch": 400}  # plain generator, RTX 4090
BOUNDS = {"one image": 1.7, "a batch": 4}


def settled_generator(config: GanConfig, device: torch.device) -> nn.Module:
    """A generator with random weights whose batch norms have seen some batches."""
    torch.manual_seed(config.seed)
    generator = new_generator(config).to(device)
    with torch.no_grad():
        for _ in range(10):
            generator(*inputs(config, 16, device))
    return generator.requires_grad_(False).eval()


def inputs(config: GanConfig, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.randn(count, config.z_dim).to(device), (torch.arange(count) % 2).to(device)


def samplers(generator: nn.Module) -> dict[str, nn.Module]:
    return {
        "plain": generator,
        "float32": for_inference(generator),
        "bfloat16": for_inference(generator, torch.bfloat16),
    }


@torch.no_grad()
def sample(sampler: nn.Module, z: Tensor, labels: Tensor) -> Tensor:
    """uint8 images (B, 3, S, S)."""
    return to_uint8(sampler(z, labels))


def difference(sides: dict[str, Callable[[], Tensor]], name: str) -> Tensor:
    """Levels of 255 between a side's images and the plain network's."""
    return (sides[name]().int() - sides["plain"]().int()).abs()


def measure(networks: dict[str, nn.Module], z: Tensor, labels: Tensor, turns: int) -> dict:
    """Ratios and images a second of all sides, for one batch of noise."""
    device = z.device.type
    sides = {name: partial(sample, network, z, labels) for name, network in networks.items()}
    assert difference(sides, "float32").max() <= 1, "folding changes the images"
    levels = difference(sides, "bfloat16").float().mean().item()
    assert levels < 2, f"bfloat16 changes the images by {levels:.2f} levels"
    seconds = take_turns(sides, turns, device)
    return {
        "levels": levels,
        "per_second": {name: len(z) / min(seconds[name]) for name in sides},
        **{name: speedup(seconds["plain"], seconds[name]) for name in ("float32", "bfloat16")},
    }


def main(arguments: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, "tiny networks", batch=64, turns=7, device="cpu")
    parser.add_argument("--backbone", default="plain", choices=GENERATORS)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    device = torch.device(options.device)
    config = make_config(preset("paper") | {"backbone": options.backbone} | (TINY if options.quick else {}))
    networks = samplers(settled_generator(config, device))
    counts = {"one image": 1, "a batch": options.batch}
    result = {name: measure(networks, *inputs(config, count, device), options.turns) for name, count in counts.items()}
    rows = []
    for name, found in result.items():
        rows += [
            (f"{name}, float32, times the plain", show(found["float32"]), ""),
            (f"{name}, bfloat16, times the plain", show(found["bfloat16"]), f">= {BOUNDS[name]}"),
            *[(f"{name}, {side}, images/s", f"{found['per_second'][side]:.1f}", "") for side in networks],
            (f"{name}, the paper's images/s", f"{PAPER_PER_SECOND[name]}", ""),
            (f"{name}, bfloat16, levels off", f"{found['levels']:.3f}", ""),
        ]
    result = {**vars(options), "paper_per_second": PAPER_PER_SECOND, **result}
    report(rows, result, options.device)


if __name__ == "__main__":
    main()
