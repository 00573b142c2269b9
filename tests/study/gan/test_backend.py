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
from study.gan.backend import Graphed, changing_tensors, choose_backend, fastest, use_backend
from study.gan.step import build_training, draw_batch
from study.training.seeds import make_generator
from tests.support.trainings import same

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def batch(training, phantoms):
    return draw_batch(training.config, phantoms.side("train"), torch.arange(64), 0, make_generator(CPU, 0, "test"))


def weights(training) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in changing_tensors(training)]


def test_a_cpu_runs_steps_eagerly(training, phantoms):
    for stored in (None, "compiled", "cuda_graph"):  # a GAN begun on a GPU may be continued without one
        assert choose_backend(training, phantoms.side("train"), stored) == "eager"


def test_choosing_a_backend_changes_nothing_in_the_training(training, batch):
    before = weights(training)
    assert fastest(training, batch, ("eager",)) == "eager"
    assert all(torch.equal(a, b) for a, b in zip(before, weights(training), strict=True))
    assert not training.critic_optimiser.state


def test_a_stored_backend_is_kept_if_it_is_correct(training, batch, monkeypatch):
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 0.1 if trial.backend == "eager" else 1.0)
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", lambda training: None)
    assert fastest(training, batch, ("eager", "compiled"), "compiled") == "compiled"
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", without_penalty)
    assert fastest(training, batch, ("eager", "compiled"), "compiled") == "eager"


def test_copies_of_the_training_are_freed(training, batch, monkeypatch):
    """They refer to themselves, and would hold GPU memory until the garbage collector runs."""
    copies = []

    def refers_to_itself(trial):
        copies.append(weakref.ref(trial))
        trial.critic_objective = partial(trial.critic_objective)

    monkeypatch.setitem(step_backend.BACKENDS, "compiled", refers_to_itself)
    gc.disable()
    try:
        fastest(training, batch, ("eager", "compiled"))
        assert copies and all(copy() is None for copy in copies)
    finally:
        gc.enable()


def without_penalty(training) -> None:
    """What a compiler did once, silently."""
    objective = training.critic_objective
    training.critic_objective = lambda real, fake, labels, epsilon: objective(real, fake, labels, None)


def broken(training) -> None:
    raise RuntimeError("no compiler here")


@pytest.mark.parametrize(("backend", "reason"), [(without_penalty, "differs"), (broken, "no compiler here")])
def test_a_backend_that_is_wrong_or_fails_is_not_used(training, batch, backend, reason, monkeypatch, caplog):
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", backend)
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 1.0 if trial.backend == "eager" else 0.1)
    with caplog.at_level(logging.WARNING):
        assert fastest(training, batch, ("eager", "compiled")) == "eager"
    assert "compiled is not used" in caplog.text and reason in caplog.text


def test_the_fastest_correct_backend_is_used(training, batch, monkeypatch):
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", lambda training: None)
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 1.0 if trial.backend == "eager" else 0.1)
    assert fastest(training, batch, ("eager", "compiled")) == "compiled"


@pytest.mark.parametrize(("steps", "limit", "expected"), [
    (100, 0.0, "eager"), (10**6, 0.0, "compiled"), (10**6, 60.0, "eager"), (10**6, 3600.0, "compiled"),
])  # fmt: skip
def test_only_a_long_training_is_compiled(training, batch, monkeypatch, steps, limit, expected):
    training.config = training.config.model_copy(update={"gan_time_limit": limit})
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", lambda training: None)
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 0.01 if trial.backend == "eager" else 0.001)
    assert fastest(training, batch, ("eager", "compiled"), steps=steps) == expected
    assert fastest(training, batch, ("eager", "compiled"), "compiled", steps) == "compiled"  # a continued training


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_compiled_objective_has_autograds_gradient(training, batch):
    expected = step_backend.reference_gradient(training, batch)
    use_backend(training, "compiled")
    assert step_backend.check_gradient(training, batch, expected) < 1e-4


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
    (fake,) = training.synthesise([batch])
    losses = training.critic_step(batch.real, fake, batch.labels, batch.epsilon)
    return [*losses.tolist(), training.generator_step(batch.labels, batch.z, batch.real).item()]


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


@pytest.mark.parametrize("name", [name for name, fields in SYSTEMS.items() if fields.get("gan_epochs") != 0])
def test_the_step_of_each_system_has_autograds_gradient(tiny_settings, phantoms, name):
    training, batch = new_training(tiny_settings, phantoms.side("train"), name, CPU)
    expected = step_backend.reference_gradient(training, batch)
    assert expected.norm() > 0 and step_backend.check_gradient(training, batch, expected) < 1e-3
    before = weights(training)
    training.iterate(batch, training.config.critic_steps)
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(training), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name, fields in SYSTEMS.items() if fields.get("gan_epochs") != 0])
def test_cuda_graphs_train_as_eager_steps_do(tiny_settings, phantoms, name):
    eager, batch = new_training(tiny_settings, phantoms.side("train"), name, torch.device("cuda"))
    graphed = copy.deepcopy(eager)
    use_backend(graphed, "cuda_graph")
    step = f"{eager.trained[-1]}_step"
    for _ in range(3):
        losses = [getattr(one, step)(*eager.inputs(batch)).tolist() for one in (graphed, eager)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-3)
    assert len(getattr(graphed, step).captured) == 1
