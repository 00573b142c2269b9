"""How a command's trials are shared out on machines with a GPU each. There is none: its memory is made up."""

from argparse import Namespace

import pytest

from study.cluster.resources import Machine
from study.cluster.start import start_ray
from study.config import make_config, preset
from study.progress.display import Display

GIB = 2**30
GANS = [make_config(preset("search") | {"backbone": name}) for name in ("plain", "efficientnetv2_s")]
NEEDS = {"plain": 2 * GIB, "efficientnetv2_s": 6 * GIB}


@pytest.fixture
def start(monkeypatch, tmp_path):
    """`start_ray` of a study on two machines, with these options."""
    monkeypatch.setattr("study.cluster.start.connect", lambda address: [Machine(16, 1.0), Machine(8, 1.0)])
    monkeypatch.setattr("study.cluster.start.refuse_unfit_nodes", lambda ask, *folders: None)
    monkeypatch.setattr("study.cluster.start.ask_a_gpu", lambda ask, config: (24 * GIB, NEEDS[config.backbone]))

    def start(gans, workers_per_trial=1, gpus_per_trial=None, trials=40):
        machines = {"workers_per_trial": workers_per_trial, "gpus_per_trial": gpus_per_trial}
        options = Namespace(address=None, **machines)
        return start_ray(options, tmp_path / "study", tmp_path / "photographs.parquet", trials, Display(), gans)

    return start


def test_trials_share_a_gpu_where_the_largest_gan_lets_them(start):
    assert (start(GANS).concurrent, start(GANS).gpus_per_worker) == (6, 1 / 3)
    assert start(GANS[:1]).concurrent == 8


def test_a_gpu_is_not_shared_while_another_is_idle(start):
    assert (start(GANS[:1], trials=4).concurrent, start(GANS[:1], trials=4).gpus_per_worker) == (4, 1 / 2)
    assert (start(GANS[:1], trials=2).concurrent, start(GANS[:1], trials=2).gpus_per_worker) == (2, 1)


def test_without_gans_to_measure_each_trial_has_a_gpu(start):
    assert (start([]).concurrent, start([]).gpus_per_worker) == (2, 1)


def test_the_options_go_first(start):
    assert start(GANS, gpus_per_trial=0.5).concurrent == 4
    assert (start(GANS, workers_per_trial=2).concurrent, start(GANS, workers_per_trial=2).gpus_per_worker) == (1, 1)
