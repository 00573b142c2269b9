"""Backends are checked before they are used; what a CUDA graph's capture changes is put back."""

import copy
import gc
import logging
import weakref
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from study.config import make_config
from study.gan import backend as step_backend
from study.gan.backend import Graphed, changing_tensors, choose_backend, fastest, use_backend
from study.gan.step import build_training, draw_batch
from study.training.seeds import make_generator

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def training(tiny_settings):
    return build_training(make_config(tiny_settings), CPU)


@pytest.fixture
def batch(training, phantoms):
    return draw_batch(training.config, phantoms.side("train"), torch.arange(64), 0, make_generator(CPU, 0, "test"))


def weights(training) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in changing_tensors(training)]


def test_a_processor_runs_steps_eagerly(training, phantoms):
    for stored in (None, "compiled", "cuda_graph"):  # a GAN begun on a GPU may go on without one
        assert choose_backend(training, phantoms.side("train"), stored) == "eager"


def test_choosing_leaves_the_training_as_it_is(training, batch):
    before = weights(training)
    assert fastest(training, batch, ("eager",)) == "eager"
    assert all(torch.equal(a, b) for a, b in zip(before, weights(training), strict=True))
    assert not training.critic_optimiser.state


def test_a_stored_backend_is_kept_where_it_is_right(training, batch, monkeypatch):
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 0.1 if trial.backend == "eager" else 1.0)
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", lambda training: None)
    assert fastest(training, batch, ("eager", "compiled"), "compiled") == "compiled"
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", without_penalty)
    assert fastest(training, batch, ("eager", "compiled"), "compiled") == "eager"


def test_candidates_leave_no_copy_behind(training, batch, monkeypatch):
    """They refer to themselves, and would hold a GPU's memory for as long as the collector does not run."""
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
    """What a compiler did once, without a word."""
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


def test_the_fastest_right_one_is_used(training, batch, monkeypatch):
    monkeypatch.setitem(step_backend.BACKENDS, "compiled", lambda training: None)
    monkeypatch.setattr(step_backend, "time_steps", lambda trial, _: 1.0 if trial.backend == "eager" else 0.1)
    assert fastest(training, batch, ("eager", "compiled")) == "compiled"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_compiled_objective_has_autograds_gradient(training, batch):
    expected = step_backend.reference_gradient(training, batch)
    use_backend(training, "compiled")
    assert step_backend.check_gradient(training, batch, expected) < 1e-4


@pytest.fixture
def fake_graphs(monkeypatch):
    """Graphs that are captured by remembering the call, and replayed by repeating it."""

    class Stream:
        def wait_stream(self, other):
            pass

    @contextmanager
    def nothing(*_):
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nothing)
    monkeypatch.setattr(torch.cuda, "graph", nothing)

    class Graph:
        def replay(self):
            self.output.copy_(self.step(*self.inputs))

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    capture = Graphed.capture

    def remembered(self, inputs):
        graph, static, output = capture(self, inputs)
        graph.step, graph.inputs, graph.output = self.step, static, output
        return graph, static, output

    monkeypatch.setattr(Graphed, "capture", remembered)


@pytest.mark.usefixtures("fake_graphs")
def test_graphs_train_as_eager_steps_do(training, batch):
    eager, graphed = copy.deepcopy(training), copy.deepcopy(training)
    use_backend(graphed, "cuda_graph")
    losses = []
    for one in (eager, graphed):
        (fake,) = one.synthesise([batch])
        losses.append([
            one.critic_step(batch.real, fake, batch.labels, batch.epsilon),
            one.critic_step(batch.real, fake, batch.labels, None),
            one.critic_step(batch.real, fake, batch.labels, batch.epsilon),
            one.generator_step(batch.labels, batch.z),
        ])  # fmt: skip
    for ours, theirs in zip(*losses, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(weights(eager), weights(graphed), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(graphed.critic_step.captured) == 2  # with the penalty, and without
