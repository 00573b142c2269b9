"""Does the fast training step make the same GANs as a tutorial's? Frechet distances over seeds.

python benchmarks/equal_results.py [--data FOLDER] [--image-size 32] [--epochs 40] [--seeds 3] [--device cuda]

For each seed three trainings start from the same weights and see the same batches and noise, for as many steps: the
tutorial's loop in float32 (`competitors/tutorial.py`), and the study's step in float32 and in bfloat16. The distance is
that of the EMA generator's images to the validation photographs. Rounding alone makes the trainings drift apart (see
`benchmarks/gan_step.py`), so what must hold is that a side's mean over the seeds lies no further from the tutorial's
than the tutorial's own standard deviation over seeds.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from benchmarks.competitors.tutorial import build_tutorial
from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report
from benchmarks.harness.photographs import prepared
from data_utils.dataset import Dataset, evenly_drawn
from study.config import make_config, preset
from study.gan.quality import GanQuality
from study.gan.sampling import sample_images
from study.gan.step import build_training
from study.training.memory import keep_freed_memory

SIDES = {  # build, precision
    "tutorial": (build_tutorial, "float32"),
    "float32": (build_training, "float32"),
    "bfloat16": (build_training, "bfloat16"),
}
TINY = {"decoder_width": 16, "critic_width": 8, "lstm_width": 8, "eval_images": 16, "critic_steps": 1}


def distance_after(name: str, data: Dataset, settings: dict) -> tuple[float, float]:
    """Frechet distance and seconds of one training of a side."""
    build, precision = SIDES[name]
    config = make_config(preset("search") | settings | {"precision": precision})
    training, train = build(config, data.images.device), data.side("train")
    started = time.perf_counter()
    for epoch in range(1, config.gan_epochs + 1):
        training.run_epoch(train, epoch)
    seconds = time.perf_counter() - started
    labels = evenly_drawn(data.side("validation").labels, config.eval_images)
    images = sample_images(training.ema, labels, config, "evaluation")
    return GanQuality(config, data).frechet_distance(images), seconds


def main(arguments: list[str] | None = None) -> None:
    defaults = {"data": None, "image_size": 32, "epochs": 40, "seeds": 3, "device": "cpu"}
    parser = benchmark_parser(__doc__, "an epoch of tiny networks", **defaults)
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: a spread needs 2 or more")
    keep_freed_memory()
    epochs = 1 if options.quick else options.epochs
    settings = {"image_size": options.image_size, "gan_epochs": epochs} | (TINY if options.quick else {})
    distances, seconds = ({name: [] for name in SIDES} for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(options.data, options.image_size, Path(folder), options.device)
        for seed in range(options.seeds):
            for name in SIDES:
                distance, spent = distance_after(name, data, settings | {"seed": seed})
                distances[name].append(distance)
                seconds[name].append(spent)
                print(f"seed {seed}, {name}: distance {distance:.1f}, {spent:.0f} s", file=sys.stderr, flush=True)
    spread = stdev(distances["tutorial"])
    rows = []
    for name, found in distances.items():
        apart = mean(found) - mean(distances["tutorial"])
        each = " ".join(f"{distance:.1f}" for distance in found)
        rows += [
            (f"{name}: distance by seed", each, ""),
            (f"{name}: mean, deviation", f"{mean(found):.1f}, {stdev(found):.1f}", ""),
            (f"{name}: mean less the tutorial's", f"{apart:+.1f}", f"within {spread:.1f}"),
            (f"{name}: seconds a training", f"{mean(seconds[name]):.0f}", ""),
        ]
    result = {**vars(options), "epochs": epochs, "distances": distances, "seconds": seconds}
    report(rows, result, options.device)


if __name__ == "__main__":
    main()
