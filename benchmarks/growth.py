"""How the GAN's seconds an epoch grow: with the number of images, their size, and the workers of a trial.

python benchmarks/growth.py [--counts 1000 2000 5000 10000 20000] [--sizes 32 64 128 256] [--device cuda]

Small networks, noise for photographs, whole epochs of `study.gan.step`. The table gives each epoch's time over what
linear growth from the smallest makes of it: in the number of images, and in the number of pixels. 1.0 is linear, less
is better than linear. Two workers share the batches of one training through torch.distributed (gloo), one thread each,
without Ray: 2.0 times faster would be linear; their losses of the first epoch must be one worker's.
"""

import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, show, speedup, synchronise, take_turns
from data_utils.dataset import Side
from study.config import GanConfig, make_config, preset
from study.gan.step import build_training
from study.training.memory import keep_freed_memory

SMALL = {"lstm_width": 32, "decoder_width": 32, "critic_width": 16, "latent_dim": 32, "precision": "float32"}
WORKERS = (1, 2)


def noise(count: int, size: int, device: torch.device) -> Side:
    """`count` training images of random pixels."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=draws, dtype=torch.uint8)
    return Side(images.to(device), (torch.arange(count) % 2).to(device), None, None)


def small_config(size: int) -> GanConfig:
    return make_config(preset("smoke") | SMALL | {"image_size": size})


def epoch_seconds(cases: dict[int, tuple[int, int]], turns: int, device: torch.device) -> dict[int, list[float]]:
    """Seconds of an epoch for each case: (number of images, their size)."""
    sides = {}
    for name, (count, size) in cases.items():
        training, train = build_training(small_config(size), device), noise(count, size, device)
        sides[name] = lambda training=training, train=train: training.run_epoch(train, 1)
    return take_turns(sides, turns, device.type)


def over_linear(seconds: dict[int, list[float]], amounts: dict[int, float]) -> dict[int, dict[str, float]]:
    """Each case's time over the first's, for as much work as the first's: 1 is linear growth."""
    first = next(iter(seconds))
    shares = {}
    for name, times in seconds.items():
        faster = speedup(times, seconds[first])
        shares[name] = {key: value * amounts[first] / amounts[name] for key, value in faster.items()}
    return shares


def shared_epochs(rank: int, workers: int, folder: str, settings: tuple, results) -> None:
    """One worker of a training: seconds of each epoch after the first, and the first epoch's losses."""
    count, size, turns, device_type = settings
    torch.set_num_threads(1)
    keep_freed_memory()
    dist.init_process_group("gloo", init_method=f"file://{folder}/{workers}-workers", rank=rank, world_size=workers)
    cuda = device_type.startswith("cuda")
    device = torch.device("cuda", rank % torch.cuda.device_count()) if cuda else torch.device("cpu")
    training, train = build_training(small_config(size), device), noise(count, size, device)
    losses, seconds = training.run_epoch(train, 1), []
    for epoch in range(2, turns + 2):
        started = time.perf_counter()
        training.run_epoch(train, epoch)
        synchronise(device_type)
        seconds.append(time.perf_counter() - started)
    if rank == 0:
        results.put((seconds, losses))
    dist.destroy_process_group()


def time_workers(workers: int, settings: tuple) -> tuple[list[float], dict[str, float]]:
    """`shared_epochs` of the first worker."""
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(shared_epochs, (workers, folder, settings, results), nprocs=workers, start_method="spawn")
    return results.get()


def compare_workers(settings: tuple) -> dict[str, float]:
    """How many times faster two workers are than one; their losses must agree."""
    (alone, expected), (shared, losses) = (time_workers(workers, settings) for workers in WORKERS)
    for name, value in expected.items():
        # In float32 the order of sums shows after an epoch: see "Weights in float32" in benchmarks/README.md.
        assert abs(losses[name] - value) < 1e-2 * max(1, abs(value)), (name, value, losses[name])
    return speedup(alone, shared)


def main(arguments: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, "few images", images=512, turns=3, device="cpu")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 5000, 10_000, 20_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    options = parser.parse_args(arguments)
    if options.quick:
        options.counts, options.sizes, options.images, options.turns = [64, 128], [32, 64], 128, 1
    keep_freed_memory()
    device = torch.device(options.device)
    counts = {count: (count, 32) for count in options.counts}
    sizes = {size: (options.images, size) for size in options.sizes}
    cases = {"count": counts, "size": sizes}
    seconds = {name: epoch_seconds(found, options.turns, device) for name, found in cases.items()}
    result = {
        "count": over_linear(seconds["count"], {count: count for count in counts}),
        "size": over_linear(seconds["size"], {size: size**2 for size in sizes}),
        "workers": compare_workers((options.images, 64, options.turns, options.device)),
    }
    best = {name: {case: min(times) for case, times in cases.items()} for name, cases in seconds.items()}
    report(
        [
            *[(f"{count:,} images at 32 px, {best['count'][count]:.2f} s", show(found), "1 is linear")
              for count, found in result["count"].items()],
            *[(f"{options.images} images at {size} px, {best['size'][size]:.2f} s", show(found), "1 is linear")
              for size, found in result["size"].items()],
            ("2 workers, times faster than 1", show(result["workers"]), "2 is linear"),
        ],
        {**vars(options), "seconds": best, "over_linear": result},
        options.device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
