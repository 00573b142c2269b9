"""Batch norm over two gloo workers equals batch norm over the whole batch in one process."""

import copy
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.layers import BatchNormAct2d
from torch import nn

from models.batch_norm import synchronise_batch_norm

torch.set_num_threads(1)

TOLERANCES = {torch.float64: {}, torch.float32: {"rtol": 1e-4, "atol": 1e-4}}


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), BatchNormAct2d(6, act_layer=nn.SiLU)
    )
    nn.init.uniform_(network[1].weight)
    nn.init.normal_(network[4].bias)
    return network


def run(network: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> dict:
    """One training pass in two steps of the running statistics; the loss is a sum over the images."""
    images = images.clone().requires_grad_()
    network(images.detach() * 2)
    outputs = network(images)
    (outputs - targets).square().sum().backward()
    return {
        "outputs": outputs.detach(),
        "input gradients": images.grad,
        "parameter gradients": [parameter.grad for parameter in network.parameters()],
        "state": network.state_dict(),
    }


def worker(rank: int, folder: str, shares: list[int]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    for dtype in TOLERANCES:
        images, targets = (tensor.split(shares)[rank] for tensor in whole_batch(dtype))
        network = synchronise_batch_norm(make_network().to(dtype))
        torch.save(run(network, images, targets), f"{folder}/{dtype}-{rank}.pt")
    dist.destroy_process_group()


def whole_batch(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 8, 8, generator=generator).add(3).to(dtype)
    return images, torch.randn(6, 6, 4, 4, generator=generator).to(dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two workers with unequal shares of the batch computed."""
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(worker, (str(folder), [2, 4]), nprocs=2)
    return folder


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_two_workers_equal_one_with_the_whole_batch(folder, dtype):
    first, second = (torch.load(folder / f"{dtype}-{rank}.pt", weights_only=True) for rank in (0, 1))
    one = run(make_network().to(dtype), *whole_batch(dtype))
    close = partial(torch.testing.assert_close, **TOLERANCES[dtype])
    for key in ("outputs", "input gradients"):
        close(torch.cat([first[key], second[key]]), one[key])
    for *halves, expected in zip(*(result["parameter gradients"] for result in (first, second, one)), strict=True):
        close(sum(halves), expected)
    assert list(first["state"]) == list(one["state"])
    for key, expected in one["state"].items():
        close(first["state"][key], expected)
        assert torch.equal(first["state"][key], second["state"][key])


@pytest.mark.parametrize("training", [True, False])
def test_without_a_process_group_nothing_changes(training):
    images, targets = whole_batch(torch.float32)
    plain = make_network().train(training)
    synchronised = synchronise_batch_norm(copy.deepcopy(plain))
    assert type(synchronised[1]) is not nn.BatchNorm2d
    expected, actual = run(plain, images, targets), run(synchronised, images, targets)
    for key in ("outputs", "input gradients"):
        assert torch.equal(actual[key], expected[key])
    for key, value in expected["state"].items():
        assert torch.equal(actual["state"][key], value)
