"""The GAN iteration against a tutorial's, and against the machine.

python benchmarks/gan_step.py [--device cuda] [--batch 16] [--turns 5]

One iteration is `critic_steps` updates of the critic and one of the generator, at the `paper` preset's sizes. Both
sides start from the same weights and see the same batches; after 20 critic steps their weights must agree. In float64
they do; in float32 they drift apart with the order of sums, since Adam with beta1 = 0 gives a gradient that is only
rounding the same step as any other. Counted operations and kept bytes are the same on every machine. The share of the
peak is counted operations over time, over a matrix product's in the same precision, measured just before and after.
"""

from functools import partial

import torch

from benchmarks.competitors.tutorial import build_tutorial
from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.flops import count_flops, lstm_flops, matmul_peak
from benchmarks.harness.interleaved import report, show, speedup, take_turns
from models.generator import GRID
from study.config import GanConfig, make_config, preset
from study.gan.step import Batch, GanTraining, build_training
from study.training.memory import keep_freed_memory, kept_bytes

EQUAL_STEPS = 20


def draw(config: GanConfig, device: torch.device, seed: int = 0) -> list[Batch]:
    """The batches of one iteration, of noise in the place of photographs."""
    draws, size = torch.Generator().manual_seed(seed), (config.gan_batch_size, 3, config.image_size, config.image_size)
    return [
        Batch(
            real=(torch.rand(size, generator=draws) * 2 - 1).to(device, memory_format=torch.channels_last),
            labels=torch.randint(0, 2, size[:1], generator=draws).to(device),
            z=torch.randn(size[0], config.z_dim, generator=draws).to(device),
            epsilon=torch.rand(size[0], 1, 1, 1, generator=draws).to(device),
        )
        for _ in range(config.critic_steps)
    ]


def iterate(training: GanTraining, batches: list[Batch]) -> None:
    fakes = training.synthesise(batches)
    for batch, fake in zip(batches, fakes, strict=True):
        training.critic_step(batch.real, fake, batch.labels, batch.epsilon)
    training.generator_step(batches[-1].labels, batches[0].z, batches[-1].real)


def difference_after(config: GanConfig, device: torch.device, dtype: torch.dtype) -> float:
    """The relative difference of all weights after 20 critic steps and their generator steps."""
    ours, tutorial = build_training(config, device), build_tutorial(config, device)
    for network in (ours.generator, ours.critic, tutorial.generator, tutorial.critic):
        network.to(dtype)
    for seed in range(EQUAL_STEPS // config.critic_steps):
        drawn = draw(config, device, seed)
        batches = [Batch(b.real.to(dtype), b.labels, b.z.to(dtype), b.epsilon.to(dtype)) for b in drawn]
        iterate(ours, batches)
        iterate(tutorial, nchw(batches))
    pairs = [(ours.critic, tutorial.critic), (ours.generator, tutorial.generator)]
    vectors = [[torch.cat([p.flatten() for p in side.parameters()]) for side in pair] for pair in pairs]
    return max(((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in vectors)


def nchw(batches: list[Batch]) -> list[Batch]:
    """The same batches in the memory layout of a tutorial."""
    return [Batch(b.real.contiguous(), b.labels, b.z, b.epsilon) for b in batches]


def critic_step(training: GanTraining, batch: Batch) -> None:
    """One step of the critic, its fakes included."""
    (fake,) = training.synthesise([batch])
    training.critic_step(batch.real, fake, batch.labels, batch.epsilon)


def counted(config: GanConfig, device: torch.device) -> dict[str, float]:
    """What does not depend on the machine's speed: operations and kept bytes of a critic step, ours over theirs."""
    batches = draw(config, device)[:1]
    ours = partial(critic_step, build_training(config, device), *batches)
    tutorial = partial(critic_step, build_tutorial(config, device), *nchw(batches))
    lstm = lstm_flops(build_training(config, device).generator, GRID * GRID, config.gan_batch_size)
    operations = [count_flops(ours) + lstm, count_flops(tutorial) + 3 * lstm]
    kept = [kept_bytes(ours), kept_bytes(tutorial)]
    return {
        "critic_gflop": operations[0] / 1e9, "tutorial_gflop": operations[1] / 1e9,
        "flop_ratio": operations[0] / operations[1],
        "critic_kept_mb": kept[0] / 1e6, "tutorial_kept_mb": kept[1] / 1e6, "kept_ratio": kept[0] / kept[1],
    }  # fmt: skip


def iteration_flops(config: GanConfig, device: torch.device) -> int:
    training, batches = build_training(config, device), draw(config, device)
    lstm = lstm_flops(training.generator, GRID * GRID, config.gan_batch_size)
    return count_flops(lambda: iterate(training, batches)) + (config.critic_steps + 3) * lstm


def main() -> None:
    options = benchmark_parser(__doc__, "tiny networks", batch=16, turns=5, device="cpu").parse_args()
    keep_freed_memory()
    device = torch.device(options.device)
    sizes = {"image_size": 32, "lstm_width": 16, "decoder_width": 16, "critic_width": 8} if options.quick else {}
    config = make_config(preset("paper") | {"gan_batch_size": options.batch, "precision": "float32"} | sizes)
    bfloat16 = config.model_copy(update={"precision": "bfloat16"})
    batches = draw(config, device)
    sides = {
        "tutorial": partial(iterate, build_tutorial(config, device), nchw(batches)),
        "float32": partial(iterate, build_training(config, device), batches),
        "bfloat16": partial(iterate, build_training(bfloat16, device), batches),
    }
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    before = {name: matmul_peak(dtype, options.device) for name, dtype in dtypes.items()}
    seconds = take_turns(sides, options.turns, options.device)
    peak = {name: max(before[name], matmul_peak(dtype, options.device)) for name, dtype in dtypes.items()}
    flops = iteration_flops(config, device)
    share = {name: flops / min(seconds[name]) / peak[name] for name in dtypes}
    on_gpu = options.device != "cpu"
    count, few = counted(config, device), config.model_copy(update={"gan_batch_size": 4})
    difference = {str(d)[6:]: difference_after(few, device, d) for d in (torch.float64, torch.float32)}
    report(
        [
            *[
                (f"iteration, {name}, times the tutorial", show(speedup(seconds["tutorial"], seconds[name])), bound)
                for name, bound in (("float32", ">= 1.4"), ("bfloat16", ">= 3" if on_gpu else ">= 3.5"))
            ],
            *[
                (f"real images/s, {name}", f"{options.batch * config.critic_steps / min(seconds[name]):.1f}", "")
                for name in sides
            ],
            *[
                (f"difference after {EQUAL_STEPS} steps, {name}", f"{found:.1e}", bound)
                for (name, found), bound in zip(difference.items(), ("<= 1e-5", ""), strict=True)
            ],
            ("critic step, counted operations", f"{count['flop_ratio']:.3f}", "<= 0.84"),
            ("critic step, bytes kept for backward", f"{count['kept_ratio']:.3f}", "<= 0.65"),
            *[
                (f"share of the matmul peak, {name}", f"{share[name]:.0%}", bound)
                for name, bound in (("float32", ">= 55%"), ("bfloat16", ">= 25%" if on_gpu else ">= 20%"))
            ],
        ],
        {"batch": options.batch, "seconds": seconds, "peak_flops": peak, "iteration_flop": flops,
         "share": share, "difference": difference, **count},
        options.device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
