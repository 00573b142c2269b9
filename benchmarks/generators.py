"""The paper's three generators at the `paper` preset: size, training time, memory and sampling time, beside its table.

python benchmarks/generators.py [--device cuda] [--batch 64] [--precision bfloat16] [--rounds 1] [--quick]

For plain, EfficientNetV2-S and -M, each with two LSTM layers:

- parameters, in millions;
- seconds per 1,000 real images trained: rounds of `critic_steps` critic steps and one generator step, the best of
  `--rounds` after one that is not measured;
- memory: on a GPU the most that was allocated at a time; on a CPU the bytes of weights, gradients, optimisers and
  moving average, plus what the costliest step keeps for its backward pass (each storage once), which is what a GPU
  would hold but for its work space;
- seconds per image sampled, one at a time, and images a second in batches of 64.

The paper's figures are of an RTX 4090; its hours are of whole trainings whose number of epochs it does not give.
Generators take turns, so that their ratios hold on a machine whose speed drifts.
"""

from functools import partial

import torch

from benchmarks.gan_step import draw, iterate
from benchmarks.generation import TINY, inputs, sample
from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, take_turns
from models.generator import parameter_count
from models.inference import for_inference
from results.tables.published import read_published
from study.config import GanConfig, make_config, preset
from study.gan.footprint import weights_bytes
from study.gan.step import GanTraining, build_training
from study.training.memory import keep_freed_memory, kept_bytes

PUBLISHED_MODELS = {
    "plain": "wgan_gp_lstm",
    "efficientnetv2_s": "efficientnetv2_s_lstm",
    "efficientnetv2_m": "efficientnetv2_m_lstm",
}
SAMPLED = 64


def memory_bytes(training: GanTraining, batches: list) -> int:
    """What a round needs at a time; see above."""
    device = batches[0].real.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        iterate(training, batches)
        return torch.cuda.max_memory_allocated(device)
    fakes = training.synthesise(batches)
    batch = batches[0]
    steps = (
        lambda: training.critic_step(batch.real, fakes[0], batch.labels, batch.epsilon),
        lambda: training.generator_step(batch.labels, batch.z, batch.real),
    )
    return max(map(kept_bytes, steps)) + weights_bytes(training)


def measure_training(configs: dict[str, GanConfig], turns: int, device: torch.device) -> tuple[dict, dict]:
    """Seconds of each generator's round in each turn, and bytes."""
    memory, sides = {}, {}
    for name, config in configs.items():  # one training is held at a time while memory is measured
        memory[name] = memory_bytes(build_training(config, device), draw(config, device))
    for name, config in configs.items():
        sides[name] = partial(iterate, build_training(config, device), draw(config, device))
    return take_turns(sides, turns, device.type), memory


def measure_sampling(configs: dict[str, GanConfig], count: int, turns: int, device: torch.device) -> dict:
    """Seconds of `count` images at once, by generator, as a study samples."""
    sides = {}
    for name, config in configs.items():
        generator = build_training(config, device).ema
        dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        sides[name] = partial(sample, for_inference(generator, dtype), *inputs(config, count, device))
    return take_turns(sides, turns, device.type)


def paper(backbone: str, metric: str, scale: float = 1.0) -> str:
    """The paper's figure or range, times `scale`; `-` where it gives none."""
    rows = read_published()
    rows = rows[(rows[["table", "model", "metric"]] == ["generators", PUBLISHED_MODELS[backbone], metric]).all(axis=1)]
    figures = [value * scale for value in (*rows["value"], *rows["value_high"]) if value == value]
    return "-".join(f"{figure:.3g}" for figure in figures) or "-"


def main(arguments: list[str] | None = None) -> None:
    defaults = {"batch": preset("paper")["gan_batch_size"], "rounds": 1, "device": "cpu"}
    parser = benchmark_parser(__doc__, "tiny networks", **defaults)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    options = parser.parse_args(arguments)
    keep_freed_memory()
    device = torch.device(options.device)
    settings = preset("paper") | {"gan_batch_size": options.batch, "precision": options.precision}
    settings |= TINY | {"critic_width": 8, "gan_batch_size": 4} if options.quick else {}
    configs = {name: make_config(settings | {"backbone": name}) for name in PUBLISHED_MODELS}
    rounds, memory = measure_training(configs, options.rounds, device)
    sampling = {count: measure_sampling(configs, count, 3, device) for count in (1, SAMPLED)}
    trained = settings["critic_steps"] * settings["gan_batch_size"]
    result = {
        name: {
            "generator_parameters": parameter_count(build_training(config, device).generator),
            "seconds_per_1000": min(rounds[name]) / trained * 1000,
            "memory_bytes": memory[name],
            "seconds_per_image": min(sampling[1][name]),
            "images_per_second": SAMPLED / min(sampling[SAMPLED][name]),
            "times_plain": min(rounds[name]) / min(rounds["plain"]),
        }
        for name, config in configs.items()
    }
    rows = [row for name, found in result.items() for row in rows_of(name, found)]
    report(rows, {**vars(options), **result}, options.device)


def rows_of(name: str, found: dict) -> list[tuple[str, str, str]]:
    """A generator's lines; the last column is the paper's."""
    return [
        (f"{name}: parameters, M", f"{found['generator_parameters'] / 1e6:.1f}",
         f"paper {paper(name, 'generator_parameters', 1e-6)}"),
        ("  s per 1,000 images trained", f"{found['seconds_per_1000']:.3g}", ""),
        ("  of the plain one's", f"{found['times_plain']:.2f}", ""),
        ("  hours of training", "", f"paper {paper(name, 'gan_hours')}"),
        ("  memory, GB", f"{found['memory_bytes'] / 1e9:.2f}", f"paper {paper(name, 'peak_memory')}"),
        ("  s per image, one at a time", f"{found['seconds_per_image']:.4f}",
         f"paper {paper(name, 'seconds_per_synthetic_image')}"),
        (f"  images/s, batches of {SAMPLED}", f"{found['images_per_second']:.1f}",
         f"paper {paper(name, 'synthetic_images_per_second')}"),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
