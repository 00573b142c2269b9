"""A training whose batch does not fit goes on with halves, once. The GPU's error is raised by hand."""

import pytest
import torch

from study.config import make_config
from study.errors import Diverged
from study.gan.step import GanTraining
from study.training.memory import NOTE, within_memory
from study.trial.run import run_trial

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small_memory(monkeypatch):
    """The critic's objective takes up to `limit` images; returns the sizes that it was given."""
    sizes, objective = [], GanTraining.critic_objective

    def limited(limit: int) -> list[int]:
        def critic_objective(training, real, *rest):
            sizes.append(len(real))
            if len(real) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
            return objective(training, real, *rest)

        monkeypatch.setattr(GanTraining, "critic_objective", critic_objective)
        return sizes

    return limited


@pytest.fixture
def config(tiny_settings):
    return make_config(tiny_settings | {"gan_epochs": 1, "classifier_epochs": 1})


def test_the_batch_is_halved_once(small_memory, config, phantoms, tmp_path, pixel_quality):
    sizes = small_memory(limit=8)
    result = run_trial(config, phantoms, lambda entry: None, tmp_path / "gans", tmp_path / "checkpoints")
    assert result["micro_batches"] == 2 and result["gan_epoch"] == 1
    assert sizes[0] == 16 and set(sizes[1:]) == {8}


def test_a_batch_that_fits_is_left_whole(small_memory, config, phantoms, tmp_path, pixel_quality):
    small_memory(limit=16)
    result = run_trial(config, phantoms, lambda entry: None, tmp_path / "gans", tmp_path / "checkpoints")
    assert result["micro_batches"] == 1


def test_halves_that_do_not_fit_end_the_trial_with_the_reason(
    small_memory, config, phantoms, tmp_path, pixel_quality
):
    small_memory(limit=4)
    with pytest.raises(Diverged, match=r"out of memory.*Tried to allocate 2.00 GiB"):
        run_trial(config, phantoms, lambda entry: None, tmp_path / "gans", tmp_path / "checkpoints")


def test_the_note_outlives_the_process(tmp_path):
    (tmp_path / NOTE).touch()
    assert within_memory(tmp_path, lambda pieces: {"pieces": pieces}) == {"pieces": 2, "micro_batches": 2}


def test_several_workers_are_started_again_by_their_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr("study.training.memory.num_workers", lambda: 2)

    def train(pieces):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        within_memory(tmp_path, train)
    assert (tmp_path / NOTE).exists()
