"""How many trials share a GPU. There is none: its memory is made up, what trains on it is not."""

import pytest
import torch

from study.cluster.packing import MOST, largest_configs, share_of_a_gpu, train_a_round, trials_per_gpu
from study.config import SYSTEMS, make_config, preset
from study.gan.step import build_training
from study.search.space import system_configs

GIB = 2**30
SEARCH = make_config(preset("search"))


@pytest.mark.parametrize(
    ("total", "needed", "cpus", "expected"),
    [(24, 4.0, 16, 4), (24, 6.0, 16, 3), (24, 12.0, 16, 1), (24, 40.0, 16, 1), (140, 1.0, 16, MOST), (140, 1.0, 2, 2)],
)
def test_as_many_as_memory_and_cpus_let_in(total, needed, cpus, expected):
    assert trials_per_gpu(total * GIB, int(needed * GIB), cpus) == expected


def test_the_largest_gan_decides():
    needs = {"plain": 2, "efficientnetv2_s": 6, "efficientnetv2_m": 9}

    def on_a_gpu(measure, config):
        assert config.lstm_depth == 4
        return 24 * GIB, needs[config.backbone] * GIB

    untrained = SEARCH.model_copy(update={"generator": "principal", "gan_epochs": 0})
    assert share_of_a_gpu(on_a_gpu, [*largest_configs(SEARCH, {}), untrained], most=16) == 1 / 2
    assert share_of_a_gpu(on_a_gpu, largest_configs(SEARCH, {"backbone": "plain"}), most=16) == 1 / 4
    assert share_of_a_gpu(on_a_gpu, [untrained], most=16) == 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_can_be_measured(system):
    (config,) = system_configs(make_config(preset("smoke")), [system]).values()
    train_a_round(config, torch.device("cpu"))


def test_what_is_fixed_is_not_searched():
    (only,) = largest_configs(SEARCH, {"backbone": "efficientnetv2_s", "lstm_depth": 0})
    assert (only.backbone, only.lstm_depth) == ("efficientnetv2_s", 0)


@pytest.mark.usefixtures("one_thread")
def test_a_round_allocates_what_a_training_holds(tiny_settings, monkeypatch):
    """Both networks' gradients and moments come with their first step, and stay."""
    made = []

    def build(config, device):
        made.append(build_training(config, device))
        return made[0]

    monkeypatch.setattr("study.cluster.packing.build_training", build)
    train_a_round(make_config(tiny_settings), torch.device("cpu"))
    for optimiser in (made[0].critic_optimiser, made[0].generator_optimiser):
        parameters = optimiser.param_groups[0]["params"]
        assert all(parameter in optimiser.state for parameter in parameters)
