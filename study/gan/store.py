"""A study's trained GANs. Each is trained once for its settings, data set and code, also if several trials need it."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from torch import Tensor

from data_utils.dataset import Dataset
from results.stats.curve import recent_distance
from results.tables.store import read_history, read_trials
from study.config import GanConfig
from study.errors import Damaged
from study.gan.code import gan_code_version
from study.gan.folder import GanFolder
from study.gan.train import CRITIC_COLLAPSED, GAN_DIVERGED, train_gan
from study.storage.checkpoint import delete_checkpoints
from study.storage.lock import kernel_lock
from study.storage.sealed import read_json, warn_and_set_aside, write_json
from study.storage.tensors import read_tensors
from study.training.memory import within_memory
from study.training.workers import from_first_worker, is_first_worker


def gan_folder(config: GanConfig, dataset: Dataset, store: Path) -> GanFolder:
    """The folder of the GAN of these settings, this data set and the present code."""
    return GanFolder(store / config.gan_key(dataset.fingerprint, gan_code_version()))


def obtain_gan(
    config: GanConfig,
    dataset: Dataset,
    report: Callable[[dict], None],
    store: Path,
    trial: str,
    unlabelled: Tensor | None = None,
) -> tuple[GanFolder, dict, bool]:
    """The folder of a trained GAN, its result columns, and whether another trial than `trial` has trained it.

    `unlabelled`: the images of a pretraining, see `study.gan.train`.
    While another trial trains the same GAN, this one waits; if that trial is stopped, this one continues from the last
    checkpoint. The reports of a reused GAN are repeated, so that every trial has the whole history.
    """
    folder = gan_folder(config, dataset, store)
    with ExitStack() as stack:
        if is_first_worker():
            folder.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(kernel_lock(folder.lock))
        finished = from_first_worker(lambda: read_result(folder))
        if finished:
            for entry in finished["history"]:
                report(entry)
            # A trial whose worker died after training the GAN finds its own GAN.
            return folder, result_columns(finished), finished["trial"] != trial
        history: dict[int, dict] = {}  # by epoch: after an out-of-memory error, epochs are reported again

        def report_and_keep(entry: dict) -> None:
            history[entry["epoch"]] = entry | {"gan_key": folder.key}
            report(history[entry["epoch"]])

        train = partial(train_gan, config, dataset, report_and_keep, folder, unlabelled=unlabelled)
        metrics = within_memory(folder.path, train)
        result = {"metrics": metrics, "history": list(history.values()), "trial": trial}
        if is_first_worker():
            write_json(folder.result, result)
            delete_checkpoints(folder.path)
        return folder, result_columns(result), False


def drop_stopped(study: Path) -> None:
    """Delete the checkpoints of GANs that nothing goes on with: each trial of one was stopped, or saw it diverge.

    Two are kept of each, with optimisers: 0.25 GiB of the largest GAN of the preset `search`, 1.4 GiB of `paper`.
    """
    rows, history = read_trials(study), read_history(study).dropna(subset="gan_key")
    users = history.groupby("trial_id")["gan_key"].last()  # of those, too, that have no row, or failed
    key = rows["gan_key"].fillna(rows["trial_id"].map(users))
    has_diverged = rows["reason"].fillna("").str.startswith((GAN_DIVERGED, CRITIC_COLLAPSED))
    is_over = (rows["status"].eq("pruned") | has_diverged).groupby(key).all()
    for name in is_over.index[is_over].difference(users[~users.index.isin(rows["trial_id"])]):
        delete_checkpoints(study / "gans" / name)


def result_columns(result: dict) -> dict:
    """The columns of the training, and the distance of its latest measurements together."""
    curve = {entry["epoch"]: entry["frechet_distance"] for entry in result["history"]}
    return result["metrics"] | {"frechet_recent": recent_distance(curve)}


def read_result(folder: GanFolder) -> dict | None:
    """The result of a finished GAN; None where it is not finished or damaged, in which case a trial trains it again."""
    try:
        result = read_json(folder.result)
        read_tensors(folder.generator)
        return result
    except FileNotFoundError:
        return None
    except Damaged as damage:
        warn_and_set_aside(damage.path, "the GAN is trained again where a trial needs it")
        return None
