"""How many trials share a GPU: as many as fit into its memory, if all trained the largest GAN. No Ray here."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from data_utils.dataset import Side
from study.config import TrialConfig
from study.gan.backend import choose_backend, use_backend
from study.gan.step import build_training
from study.search.space import SCIENTIFIC
from study.training.memory import free_memory

UNCOUNTED = 600 * 2**20  # bytes a process takes besides what torch allocates: CUDA's context and kernels
FILLED = 0.9             # of a GPU; the rest is for evaluation, which comes and goes
MOST = 4                 # more would only take turns


def share_of_a_gpu(
    on_a_gpu: Callable[[Callable, TrialConfig], tuple[int, int]], gans: Iterable[TrialConfig], most: int
) -> float:
    """The fraction of a GPU for each trial of one worker, if these are the GANs that trials train; `most`: trials a
    GPU for which there are CPUs and work.

    `on_a_gpu(measure, config)` returns `measure(config)` as computed where there is a GPU.
    """
    measured = [on_a_gpu(measure_memory, config) for config in gans if config.gan_epochs]
    return 1 / min((trials_per_gpu(free, needed, most) for free, needed in measured), default=1)


def trials_per_gpu(free: int, needed: int, most: int) -> int:
    """How many trials that need so many bytes each run on a GPU with `free` bytes, of at most so many."""
    return max(1, min(int(free * FILLED // (needed + UNCOUNTED)), most, MOST))


def largest_configs(base: TrialConfig, fixed: dict) -> list[TrialConfig]:
    """Each backbone that the search may choose, with the deepest LSTM."""
    deepest = fixed.get("lstm_depth", max(SCIENTIFIC["lstm_depth"].values))
    backbones = [fixed["backbone"]] if "backbone" in fixed else SCIENTIFIC["backbone"].values
    return [base.model_copy(update={"backbone": name, "lstm_depth": deepest}) for name in backbones]


def measure_memory(config: TrialConfig) -> tuple[int, int]:
    """Bytes of this GPU that others leave free, and the most that torch held of it while it trained the config's GAN
    for a round.

    Where that did not fit, all of them: a trial then has the GPU to itself, and takes its batches in pieces.
    """
    device = torch.device("cuda")
    free_memory()
    torch.cuda.reset_peak_memory_stats()
    free = torch.cuda.mem_get_info(device)[0] + UNCOUNTED  # this process's own context is counted as a trial's
    try:
        train_a_round(config, device)
    except torch.OutOfMemoryError:
        return free, free
    return free, torch.cuda.max_memory_reserved()


def train_a_round(config: TrialConfig, device: torch.device) -> None:
    """The critic's steps on black images, and the generator step that follows them, as a study would run them."""
    count = config.gan_batch_size * config.critic_steps
    images = torch.zeros(count, 3, config.image_size, config.image_size, dtype=torch.uint8, device=device)
    names = np.arange(count).astype(str)
    side = Side(images, torch.arange(count, device=device) % 2, names, names)
    training = build_training(config, device)
    use_backend(training, choose_backend(training, side))
    training.run_epoch(side, 1)
