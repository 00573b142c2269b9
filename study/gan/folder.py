"""The names of a GAN's files."""

from pathlib import Path


class GanFolder:
    """The folder of one GAN, named by its key.

    While the GAN is trained, the folder also holds checkpoints (`study.storage.checkpoint`) and, after an out-of-memory
    error, the note of `study.training.memory`.
    """

    def __init__(self, path: Path):
        self.path, self.key = path, path.name
        self.lock = path / "lock"  # held by the trial that trains the GAN
        self.generator = path / "generator.safetensors"  # weights of the EMA generator
        self.samples = path / "samples.png"  # synthetic images from fixed noise
        self.result = path / "result.json"  # result columns and history; written last
        self.closest = path / "closest.png"  # of the audit: the images nearest to a training image
        self.interpolation = path / "interpolation.png"  # of the audit: images between two latent points
