"""Two gloo workers that share a batch train as one process with the whole batch."""

from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from data_utils.augment import to_float
from data_utils.dataset import load_dataset
from study.config import make_config
from study.diagnosis.train import train_classifier
from study.gan.folder import GanFolder
from study.gan.train import train_gan
from study.training.preemption import any_notice
from study.training.workers import (
    average_gradients,
    from_all_workers,
    from_first_worker,
    load_checkpoint,
    mean_over_workers,
    num_workers,
    share,
)
from tests.support.damage import damage, newest
from tests.support.features import PixelQuality

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")

# 5 epochs of 4 steps: 20 critic steps, 10 generator steps, mirrored images among the real ones.
PAPER_RATES = {"generator_lr": 1e-4, "critic_lr": 1e-4}
GAN = {"gan_epochs": 5, "gan_eval_interval": 2}
CASES = {
    "float32": GAN | PAPER_RATES,
    "float64": GAN,
    "lazy": GAN | {"penalty_interval": 2},
    "efficientnetv2_s": {"backbone": "efficientnetv2_s", "gan_epochs": 1},
}
TOLERANCES = dict.fromkeys(CASES, 1e-6) | {"float32": 1e-4}
CLASSIFIER = {"classifier_epochs": 3, "dropout": 0.2, "classifier_lr": 3e-4}


@contextmanager
def precision(dtype: torch.dtype):
    """Networks, noise and images of GAN trainings in `dtype`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.gan.training.to_float", lambda images: to_float(images).to(dtype))
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def train_case(case: str, settings: dict, dataset, folder) -> list[dict]:
    """Train a GAN of `CASES`; returns its reports."""
    reports = []
    with precision(torch.float32 if case == "float32" else torch.float64):
        train_gan(make_config(settings | CASES[case]), dataset, reports.append, GanFolder(folder / case))
    return reports


def worker(rank: int, folder, prepared, settings: dict) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    pytest.MonkeyPatch().setattr("study.gan.train.GanQuality", PixelQuality)
    dataset = load_dataset(prepared, 32)
    results = {case: train_case(case, settings, dataset, folder) for case in CASES}
    classifier = make_config(settings | CLASSIFIER)
    results["classifier"] = train_classifier(classifier, dataset, lambda entry: None, folder / "classifier")
    results["share"] = share(torch.arange(4))
    results["mean"] = mean_over_workers(torch.tensor([float(rank), 1.0]))
    results["from first"] = from_first_worker(lambda: f"worker {rank}")
    results["from all"] = from_all_workers(f"worker {rank}")
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([rank, 4.0])
    average_gradients([weight, torch.nn.Parameter(torch.zeros(1))])
    results["gradient"] = weight.grad
    pytest.MonkeyPatch().setattr("study.training.preemption.notice", lambda: rank == 1)
    results["notice"] = any_notice(torch.device("cpu"))

    if rank == 0:
        damage(newest(folder / "float32"), "flipped bit")
    dist.barrier()
    results["after damage"] = train_case("float32", settings, dataset, folder)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(prepared_phantoms, tiny_settings, tmp_path_factory):
    """What two workers computed."""
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(worker, (folder, prepared_phantoms.path, tiny_settings), nprocs=2)
    return folder


@pytest.fixture
def both(folder) -> list[dict]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def stored_weights(folder, parts) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder, "cpu")
    return {f"{part}.{name}": value for part in parts for name, value in state[part].items()}


def distance(weights: dict, expected: dict) -> float:
    assert weights.keys() == expected.keys()
    return max((weights[name] - value).abs().max().item() for name, value in expected.items())


@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_the_gan_of_one(folder, phantoms, tiny_settings, tmp_path, case):
    train_case(case, tiny_settings, phantoms, tmp_path)
    parts = ("generator", "critic", "ema")
    weights, expected = stored_weights(folder / case, parts), stored_weights(tmp_path / case, parts)
    assert distance(weights, expected) < TOLERANCES[case]


def test_two_workers_train_the_classifier_of_one(folder, phantoms, tiny_settings, tmp_path):
    train_classifier(make_config(tiny_settings | CLASSIFIER), phantoms, lambda entry: None, tmp_path)
    assert distance(stored_weights(folder / "classifier", ["model"]), stored_weights(tmp_path, ["model"])) < 1e-4


def untimed(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if "second" not in name}


def test_all_workers_report_the_same(both):
    first, second = both
    for case in CASES:
        assert list(map(untimed, first[case])) == list(map(untimed, second[case]))
    assert untimed(first["classifier"]) == untimed(second["classifier"])


def test_all_workers_skip_a_damaged_checkpoint(both, folder):
    assert len(list((folder / "float32").glob("*.damaged"))) == 1
    for worker in both:
        assert list(map(untimed, worker["after damage"])) == list(map(untimed, worker["float32"]))


def test_share_mean_broadcast_and_gradient(both):
    for rank, results in enumerate(both):
        assert results["share"].tolist() == [[0, 1], [2, 3]][rank]
        assert results["mean"].tolist() == [0.5, 1.0]
        assert results["from first"] == "worker 0" and results["from all"] == ["worker 0", "worker 1"]
        assert results["gradient"].tolist() == [0.5, 4.0]


def test_one_process_changes_nothing():
    values, weight = torch.arange(3.0), torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    average_gradients([weight])
    assert num_workers() == 1 and share(values) is values and weight.grad.item() == 1
    assert mean_over_workers(values) is values and from_first_worker(lambda: 7) == 7 and from_all_workers(7) == [7]


def test_all_workers_learn_of_one_workers_notice(both):
    """The first worker writes the checkpoint; another one's machine may be the one that goes."""
    assert [worker["notice"] for worker in both] == [True, True]
