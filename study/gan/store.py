"""A GAN is trained once for each generator-side config, data set and code, and then reused, also by two at once."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from filelock import FileLock

from data_utils.dataset import Dataset
from study.config import GanConfig
from study.errors import Damaged
from study.gan.code import gan_code_version
from study.gan.train import train_gan
from study.storage.checkpoint import delete_checkpoints
from study.storage.sealed import read_json, read_tensors, warn_and_set_aside, write_json
from study.training.memory import within_memory
from study.training.workers import from_first_worker, is_first_worker


def gan_folder(config: GanConfig, dataset: Dataset, store: Path) -> Path:
    """Where the GAN of these settings and this data set lives."""
    return store / config.gan_key(dataset.fingerprint, gan_code_version())


def obtain_gan(
    config: GanConfig,
    dataset: Dataset,
    report: Callable[[dict], None],
    store: Path,
    trial: str,
) -> tuple[Path, dict, bool]:
    """The folder of a trained GAN, its result columns, and whether another trial than `trial` had trained it.

    A trial that finds another one training the same GAN waits for it, and goes on from its last checkpoint where
    that trial was stopped. A reused GAN's reports are repeated, so that every trial has the whole history.
    """
    folder = gan_folder(config, dataset, store)
    with ExitStack() as stack:
        if is_first_worker():
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / "lock"))
        finished = from_first_worker(lambda: read_result(folder))
        if finished:
            for entry in finished["history"]:
                report(entry)
            # A trial whose worker dies after it has trained its GAN finds its own.
            return folder, finished["metrics"], finished.get("trial") != trial
        history = []

        def report_and_keep(entry: dict) -> None:
            history.append(entry | {"gan_key": folder.name})
            report(history[-1])

        train = partial(train_gan, config, dataset, report_and_keep, folder)
        metrics = within_memory(folder, train)
        if is_first_worker():
            write_json(folder / "result.json", {"metrics": metrics, "history": history, "trial": trial})
            delete_checkpoints(folder)
        return folder, metrics, False


def read_result(folder: Path) -> dict | None:
    """What a finished GAN's folder says of it, or None while it is not finished, or where it is damaged."""
    try:
        result = read_json(folder / "result.json")
        read_tensors(folder / "generator.safetensors")
        return result
    except FileNotFoundError:
        return None
    except Damaged as damage:
        warn_and_set_aside(damage.path, "the GAN is trained again where a trial needs it")
        return None
