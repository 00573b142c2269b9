"""Frechet distance after equal time on the same photographs: this study's GAN, a tutorial's, a DCGAN, lightweight-gan.

python benchmarks/peers.py --data FOLDER [--minutes 10] [--peers ours principal_gan ...] [--cores 0 1] [--device cuda]

- ours: the paper's WGAN-GP with LSTM at the `search` preset, 64 px; principal_gan, r3gan: the study's other systems.
  `--set FIELD=VALUE` changes all of them.
- tutorial: the paper's sizes and rates in a tutorial's loop (`benchmarks/competitors/tutorial.py`).
- dcgan: Radford et al. (2016), `benchmarks/competitors/dcgan.py`.
- lightweight_gan: the package of that name with the settings of its command line, only with --peer-python, the Python
  of an environment where `pip install lightweight-gan==1.2.1` has been run; not this project's.

Each sees the training photographs only, in a process of its own on one thread, pinned to one of --cores (as many run at
a time as there are cores). Time is training time: loading, sampling and measuring are left out. At a quarter, a half
and the whole of the time each makes as many images as there are for validation, and the distance of their
EfficientNet-Lite0 features to the validation photographs' is printed; lower is better. The floor is as many training
photographs in the generator's place. Without --data the sample data is used.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.competitors.peer_process import OURS, PEERS
from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.harness.photographs import prepared
from benchmarks.harness.timed_training import MARKS, PIXELS
from data_utils.dataset import Dataset, Side
from models.feature_extractor import build_feature_extractor
from study.gan.metrics import frechet_distance

IMAGE_SIZE = 64
STDERR = 2  # what peers print is no part of the table
TINY_GAN = ["lstm_width=8", "decoder_width=8", "critic_width=8", "latent_dim=8"]
TINY = {"dcgan": ["width=4"]}
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647",  # what `study.training.memory` does, for all alike
}  # fmt: skip


def write_training_images(train: Side, folder: Path) -> None:
    """The same pixels as arrays and as files."""
    np.save(folder / "images.npy", train.images.numpy())
    np.save(folder / "labels.npy", train.labels.numpy())
    (folder / PIXELS).mkdir()
    for number, image in enumerate(train.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / PIXELS / f"{number}.png")


def command(name: str, options: argparse.Namespace, folder: Path, count: int) -> list[str]:
    """What trains a peer."""
    if name == "lightweight_gan":
        start = [options.peer_python, "-m", "benchmarks.competitors.lightweight_gan_process", folder]
    else:
        start = [sys.executable, "-m", "benchmarks.competitors.peer_process", folder, name]
        settings = [*(options.set if name in OURS else []), *(TINY.get(name, TINY_GAN) if options.quick else [])]
        start += [f"--set={setting}" for setting in settings]
    limits = ["--seconds", 60 * options.minutes, "--images", count, "--device", options.device]
    return [str(part) for part in (*start, *limits)]


def train_peers(names: list[str], options: argparse.Namespace, folder: Path, count: int) -> None:
    """Train each peer to its end, as many at a time as there are cores; raises CalledProcessError where one fails."""
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in options.cores:
        cores.put(core)

    def train(name: str) -> None:
        (folder / name).mkdir()
        core = cores.get()
        try:
            pinned = ["taskset", "-c", str(core), *command(name, options, folder, count)]
            subprocess.run(pinned, env=os.environ | ENVIRONMENT, check=True, stdout=STDERR)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(len(options.cores)) as pool:
        list(pool.map(train, names))


def measure(names: list[str], data: Dataset, folder: Path, device: str) -> dict:
    """By peer, for each of `MARKS`: distance, training seconds and real images seen; and the floor."""
    extractor = build_feature_extractor("efficientnet_lite0", None, device)
    real = extractor(data.side("validation").images)[0]
    result = {}
    for name in names:
        curve = json.loads((folder / name / "training.json").read_text(encoding="utf-8"))
        for point in curve:
            images = torch.from_numpy(np.load(folder / name / f"{point['mark']}.npy"))
            assert images.shape == (len(real), 3, IMAGE_SIZE, IMAGE_SIZE) and images.dtype == torch.uint8, name
            point["frechet_distance"] = frechet_distance(extractor(images)[0], real)
        result[name] = curve
    train = data.side("train").images
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(real)]
    return {"curves": result, "floor": frechet_distance(extractor(train[chosen])[0], real), "images": len(real)}


def main(arguments: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, "a step of each with tiny networks", data=None, minutes=10.0, device="cpu")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that holds lightweight-gan")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="settings of ours")
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    options.minutes *= not options.quick
    names = [*options.peers, *(["lightweight_gan"] if options.peer_python else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepared(options.data, IMAGE_SIZE, folder)
        write_training_images(data.side("train"), folder)
        train_peers(names, options, folder, int((data.split == "validation").sum()))
        result = measure(names, data, folder, options.device)
    lowest = min(result["curves"], key=lambda name: result["curves"][name][-1]["frechet_distance"])
    rows = [
        (f"{name}, {curve[-1]['real_images']:,} images seen",
         " ".join(f"{point['frechet_distance']:7.1f}" for point in curve), "lowest" if name == "ours" else "")
        for name, curve in result["curves"].items()
    ]  # fmt: skip
    rows += [("floor: training photographs", f"{result['floor']:.1f}", ""), ("lowest", lowest, "ours")]
    report([("after", " ".join(f"{60 * options.minutes * m:6.0f}s" for m in MARKS), ""), *rows],
           {**vars(options), **result, "lowest": lowest}, options.device)  # fmt: skip


if __name__ == "__main__":
    main()
