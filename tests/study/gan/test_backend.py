"""Backends are checked before they are used, and what the capture of a CUDA graph changes is restored."""

import copy
import gc
import logging
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch

from study.config import SYSTEMS, make_config
from study.gan import backend as step_backend
from study.gan.backend import Graphed, changing_tensors, check_steps, checked_backend, choose_backend, use_backend
from study.gan.step import build_training, draw_batch
from study.training.seeds import make_generator
from tests.support.trainings import same

CPU = torch.device("cpu")
TRAINED = [name for name, fields in SYSTEMS.items() if fields.get("gan_epochs") != 0]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def batch(training, phantoms):
    return draw_batch(training.config, phantoms.side("train"), torch.arange(64), 0, make_generator(CPU, 0, "test"))


def weights(training) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in changing_tensors(training)]


def test_a_cpu_runs_steps_eagerly(training, phantoms):
    for stored in (None, "eager", "cuda_graph"):  # a GAN begun on a GPU may be continued without one
        assert choose_backend(training, phantoms.side("train"), stored) == "eager"


@pytest.fixture
def no_graphs(monkeypatch):
    """Steps run eagerly where they would be captured."""
    monkeypatch.setattr(step_backend, "Graphed", lambda step, changing: step)


def test_checking_a_backend_changes_nothing_in_the_training(training, batch, no_graphs):
    before = weights(training)
    assert checked_backend(training, batch) == "cuda_graph"
    assert all(torch.equal(a, b) for a, b in zip(before, weights(training), strict=True))
    assert not training.critic_optimiser.state and training.backend == "eager"


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_the_step_of_each_system_has_autograds_gradient(tiny_settings, phantoms, name, pieces, no_graphs):
    """Also of a batch that does not fit into memory at once, which the reference must not take at once, either."""
    training, batch = new_training(tiny_settings, phantoms.side("train"), name, CPU)
    training.micro_batches = pieces
    assert len(list(training.reference_losses(batch))) == pieces
    check_steps(training, batch)


def test_copies_of_the_training_are_freed(training, batch, monkeypatch):
    """They refer to themselves, and would hold GPU memory until the garbage collector runs."""
    copies = []

    def refers_to_itself(trial, name):
        copies.append(weakref.ref(trial))
        trial.critic_objective = partial(trial.critic_objective)

    monkeypatch.setattr(step_backend, "use_backend", refers_to_itself)
    gc.disable()
    try:
        checked_backend(training, batch)
        assert copies and all(copy() is None for copy in copies)
    finally:
        gc.enable()


def without_penalty(training, name) -> None:
    """What a compiler did once, silently."""
    objective = training.critic_objective
    training.critic_objective = lambda real, fake, labels, epsilon: objective(real, fake, labels, None)


def broken(training, name) -> None:
    raise RuntimeError("no capture here")


def broken_generator_step(training, name) -> None:
    training.generator_step = partial(broken, name)


@pytest.mark.parametrize(("backend", "reason"), [
    (without_penalty, "differs"), (broken, "no capture here"), (broken_generator_step, "broken()"),
])  # fmt: skip
def test_graphs_that_are_wrong_or_fail_are_not_used(training, batch, backend, reason, monkeypatch, caplog):
    monkeypatch.setattr(step_backend, "use_backend", backend)
    with caplog.at_level(logging.WARNING):
        assert checked_backend(training, batch) == "eager"
    assert "cuda_graph is not used" in caplog.text and reason in caplog.text


def test_what_a_capture_changes_is_restored(training, batch):
    """Weights, running statistics and optimiser states: the next step equals that of an untouched training."""
    untouched = copy.deepcopy(training)
    graphed = Graphed(training.critic_step, lambda: changing_tensors(training))
    before = {id(tensor): tensor.clone() for tensor in changing_tensors(training)}
    one_step(training, batch)
    assert not alike(training, untouched)
    graphed.restore(before)
    assert alike(training, untouched)
    assert one_step(training, batch) == one_step(untouched, batch) and alike(training, untouched)


def one_step(training, batch) -> list[float]:
    return [*training.step("critic", batch).tolist(), training.step("generator", batch).item()]


def alike(training, other) -> bool:
    """Whether all weights and optimiser states agree; a state that is not there yet counts as zero."""
    networks = [{**one.generator.state_dict(), **one.critic.state_dict()} for one in (training, other)]
    states = [changing_tensors(one) for one in (training, other)]
    return same(*networks) and all(map(torch.equal, *states)) and not any(t.any() for t in states[0][len(states[1]) :])


def new_training(tiny_settings, data, name: str, device: torch.device):
    """A training of the system `name` that has seen the images, and its first batch."""
    training = build_training(make_config(tiny_settings | SYSTEMS[name]), device)
    data = replace(data, images=data.images.to(device), labels=data.labels.to(device))
    training.fit(data)
    draws = make_generator(device, 0, "test")
    return training, draw_batch(training.config, data, torch.arange(64, device=device), 0, draws)


@pytest.mark.gpu
@pytest.mark.parametrize("name", TRAINED)
def test_cuda_graphs_train_as_eager_steps_do(tiny_settings, phantoms, name):
    eager, batch = new_training(tiny_settings, phantoms.side("train"), name, torch.device("cuda"))
    graphed = copy.deepcopy(eager)
    use_backend(graphed, "cuda_graph")
    for network in 3 * eager.trained:
        losses = [one.step(network, batch).tolist() for one in (graphed, eager)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-3)
    assert all(len(getattr(graphed, f"{network}_step").captured) == 1 for network in graphed.trained)
