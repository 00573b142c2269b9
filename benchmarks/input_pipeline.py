"""Augmented training images a second: a resident tensor, augmented in batches, against a DataLoader of JPEG files.

python benchmarks/input_pipeline.py [--data FOLDER] [--image-size 128] [--workers 2] [--device cuda] [--turns 5]

Both sides go through the same images once, in random order, and give shuffled batches of float32 images in [-1, 1] on
the device, rotated, zoomed, mirrored and of changed contrast by the classifier's amounts. The DataLoader decodes with
pillow in worker processes, which it keeps from epoch to epoch, and augments with torchvision. Its files are already
of the size asked for. Without --data the images are rendered phantoms. Checked: every image comes once, and both sides'
pixels have the same mean and deviation to 0.03.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.harness.command import benchmark_parser
from benchmarks.harness.interleaved import report, show, speedup, take_turns
from benchmarks.harness.photographs import prepared
from data_utils.augment import apply_augmentation, draw_augmentation
from study.config import TrialConfig
from study.training.memory import keep_freed_memory

AMOUNTS = {name: TrialConfig.model_fields[name].default for name in ("rotation", "zoom", "contrast")}
BOUND = 5
Batches = Iterable[tuple[Tensor, Tensor]]  # images (B, 3, S, S), labels (B,)


class Resident:
    """All images uint8 on the device; batches as `study.diagnosis.train.run_epoch` makes them."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, device: torch.device):
        self.images, self.labels, self.batch_size = images.to(device), labels.to(device), batch_size
        self.draws = torch.Generator(device).manual_seed(0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), generator=self.draws, device=self.labels.device)
        for rows in order.split(self.batch_size):
            parameters = draw_augmentation(len(rows), self.draws, **AMOUNTS)
            images = apply_augmentation(self.images[rows], parameters)
            yield images.contiguous(memory_format=torch.channels_last), self.labels[rows]


class JpegFiles(Dataset):
    """A JPEG file an image, decoded and augmented one by one."""

    def __init__(self, folder: Path, images: Tensor, labels: Tensor):
        self.labels = labels
        self.paths = [folder / f"{number}.jpg" for number in range(len(images))]
        for path, image in zip(self.paths, images, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=95)
        scale = 1 - AMOUNTS["zoom"], 1 + AMOUNTS["zoom"]
        self.transform = v2.Compose([
            v2.RandomAffine(AMOUNTS["rotation"], scale=scale, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(contrast=AMOUNTS["contrast"]),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[number]) as image:
            return self.transform(image.convert("RGB")), self.labels[number]


def epoch(batches: Batches, device: torch.device) -> Tensor:
    """One pass; the labels in the order they came."""
    return torch.cat([labels for _, labels in on_device(batches, device)])


def on_device(batches: Batches, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def check_equal_work(ours: Batches, theirs: Batches, images: Tensor, device: torch.device) -> None:
    """Labels here number the images, so that a label that comes once is an image that comes once."""
    moments = []
    for side in (ours, theirs):
        batches, labels = zip(*on_device(side, device), strict=True)
        pixels = torch.cat(batches)
        assert torch.equal(torch.cat(labels).sort().values.cpu(), torch.arange(len(images)))
        assert pixels.shape == images.shape and pixels.dtype == torch.float32 and pixels.abs().max() <= 1.001
        corner = pixels.shape[-1] // 5  # torchvision leaves black corners, which are no part of the photographs
        centre = pixels[..., corner:-corner, corner:-corner]
        moments.append(torch.stack([centre.mean(), centre.std()]))
    assert (moments[0] - moments[1]).abs().max() < 0.03, moments


def main(arguments: list[str] | None = None) -> None:
    defaults = {"data": None, "image_size": 128, "batch": 64, "workers": 2, "device": "cpu", "turns": 5}
    options = benchmark_parser(__doc__, "few small images", **defaults).parse_args(arguments)
    if options.quick:
        options.image_size, options.batch, options.workers, options.turns = 32, 16, 1, 1
    keep_freed_memory()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        images = prepared(options.data, options.image_size, Path(folder)).side("train").images
        images = images[: 64 if options.quick else None]
        numbers = torch.arange(len(images))
        ours = Resident(images, numbers, options.batch, device)
        files = JpegFiles(Path(folder), images, numbers)
        theirs = DataLoader(files, options.batch, shuffle=True, num_workers=options.workers, persistent_workers=True,
                            pin_memory=device.type == "cuda")  # fmt: skip
        check_equal_work(ours, theirs, images, device)
        sides = {"resident": lambda: epoch(ours, device), "jpeg": lambda: epoch(theirs, device)}
        seconds = take_turns(sides, options.turns, options.device)
    speed = speedup(seconds["jpeg"], seconds["resident"])
    per_second = {name: len(images) / min(times) for name, times in seconds.items()}
    result = {**vars(options), "images": len(images), "per_second": per_second, "speedup": speed}
    report(
        [
            ("resident, times the DataLoader", show(speed), f">= {BOUND}"),
            ("resident tensor, images/s", f"{per_second['resident']:.0f}", ""),
            (f"JPEG DataLoader, {options.workers} workers, images/s", f"{per_second['jpeg']:.0f}", ""),
        ],
        result,
        options.device,
    )


if __name__ == "__main__":
    main()
