"""How a training step runs: eager, its objective compiled, or whole in a CUDA graph. On a GPU the fastest is chosen.

The small launches of the critic's step leave a GPU waiting for its host. A compiled objective fuses them, a CUDA
graph replays them all at once; neither changes what is computed, and each must give eager autograd's gradients on the
run's own first batch before it is used: a compiled gradient penalty has been seen to lose its gradient silently.
"""

import copy
import logging
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from data_utils.dataset import Side
from models.objectives import critic_loss
from study.gan.step import Batch, GanTraining, draw_batch
from study.training.memory import free_memory
from study.training.precision import autocast
from study.training.seeds import make_generator
from study.training.workers import num_workers

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # of the gradient, relative: rounding apart, nothing may differ
TIMED_STEPS = 10
WARM_UP = 3  # calls before a capture, in which libraries choose their kernels
logger = logging.getLogger(__name__)


def use_compiled(training: GanTraining) -> None:
    """The critic's objective becomes one compiled graph; backward and the optimiser stay outside."""
    training.critic_objective = torch.compile(training.critic_objective, dynamic=False)


def use_cuda_graph(training: GanTraining) -> None:
    """Both steps become CUDA graphs."""
    training.critic_step = Graphed(training.critic_step, lambda: changing_tensors(training))
    training.generator_step = Graphed(training.generator_step, lambda: changing_tensors(training))


BACKENDS: dict[str, Callable[[GanTraining], None]] = {
    "eager": lambda training: None,
    "compiled": use_compiled,
    "cuda_graph": use_cuda_graph,
}


def use_backend(training: GanTraining, name: str) -> None:
    """Let the steps of `training` run so from now on."""
    BACKENDS[name](training)
    training.backend = name


def choose_backend(training: GanTraining, train: Side, stored: str | None = None) -> str:
    """Name of the fastest backend that is right; `training` is left as it is.

    A training that goes on keeps the backend `stored` with it, where that is still right: it may go on elsewhere. On
    a CPU, and with several workers, whose gradients are exchanged within a step, the backend is `eager`.
    """
    device = train.images.device
    if device.type == "cpu" or num_workers() > 1:
        return "eager"
    draws = make_generator(device, training.config.seed, "gan", "backend")
    order = torch.arange(len(train.labels), device=device)
    batch = draw_batch(training.config, train, order, 0, draws)
    return fastest(training, batch, ("eager", stored) if stored else tuple(BACKENDS), stored)


def fastest(training: GanTraining, batch: Batch, candidates: tuple[str, ...], preferred: str | None = None) -> str:
    """Name of the fastest of the candidates whose gradient is eager autograd's, or the preferred one if it is right.

    The log names the others' faults.
    """
    expected, seconds = reference_gradient(training, batch), {}
    for name in candidates:
        try:
            seconds[name] = checked_seconds(training, batch, name, expected)
        except Exception as failure:  # whatever a compiler or a driver may raise: eager always works
            if name == "eager":
                raise
            logger.warning("step backend %s is not used: %s", name, failure)
        free_memory()
    logger.info("milliseconds a step: %s", {name: round(1e3 * each, 2) for name, each in seconds.items()})
    return preferred if preferred in seconds else min(seconds, key=seconds.__getitem__)


def checked_seconds(training: GanTraining, batch: Batch, name: str, expected: Tensor) -> float:
    """Seconds of a step by a backend, tried on a copy; ArithmeticError where its gradient is not the expected one."""
    trial = copy.deepcopy(training)
    trial.generator.to(batch.real.device)  # lays an LSTM's weights in one piece again, as cuDNN wants them
    use_backend(trial, name)
    with warnings.catch_warnings():
        # A copied optimiser has forgotten that it need not say so.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        error = check_gradient(trial, batch, expected)
        if not error < TOLERANCE[training.config.precision]:  # also true for NaN
            raise ArithmeticError(f"its gradient differs from eager autograd's by {error:.1e}")
        return time_steps(trial, batch)


def reference_gradient(training: GanTraining, batch: Batch) -> Tensor:
    """The gradient of the critic's loss by plain autograd, flat."""
    config, (fake,) = training.config, copy.deepcopy(training).synthesise([batch])
    weight = config.penalty_weight * config.penalty_interval
    with autocast(config, batch.real.device):
        loss, _ = critic_loss(training.critic, batch.real, fake, batch.labels, weight, batch.epsilon)
    return flat(torch.autograd.grad(loss, list(training.critic.parameters()), materialize_grads=True))


def check_gradient(trial: GanTraining, batch: Batch, expected: Tensor) -> float:
    """How far the gradient of a step lies from the expected one, relative to it. The step is done."""
    (fake,) = trial.synthesise([batch])
    trial.critic_step(batch.real, fake, batch.labels, batch.epsilon)
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trial.critic.parameters()]
    return ((flat(gradients) - expected).norm() / expected.norm()).item()


def time_steps(trial: GanTraining, batch: Batch) -> float:
    """Seconds of a critic step and its share of the generator's."""
    (fake,) = trial.synthesise([batch])
    trial.generator_step(batch.labels, batch.z)
    wait = torch.cuda.synchronize if batch.real.is_cuda else lambda: None
    wait()
    started = time.perf_counter()
    for step in range(TIMED_STEPS):
        trial.critic_step(batch.real, fake, batch.labels, batch.epsilon)
        if (step + 1) % trial.config.critic_steps == 0:
            trial.generator_step(batch.labels, batch.z)
    wait()
    return (time.perf_counter() - started) / TIMED_STEPS


def flat(tensors) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in tensors])


def changing_tensors(training: GanTraining) -> list[Tensor]:
    """Every tensor that a step changes: weights, running statistics, optimiser states."""
    networks: list[nn.Module] = [training.generator, training.critic]
    found = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    for optimiser in (training.generator_optimiser, training.critic_optimiser):
        for state in optimiser.state.values():
            found += [tensor for tensor in state.values() if isinstance(tensor, Tensor)]
    return found


class Graphed:
    """`step(*inputs)` captured as a CUDA graph at its first call for inputs of these shapes, replayed from then on.

    Capturing needs calls that change weights and optimisers (`changing`): they are put back, in place, since the
    graph has their addresses. A state that the optimiser made only now goes back to zero, from which it starts.
    """

    def __init__(self, step: Callable[..., Tensor], changing: Callable[[], list[Tensor]]):
        self.step, self.changing, self.captured = step, changing, {}

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        key = tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self.captured:
            self.captured[key] = self.capture(inputs)
        graph, static, output = self.captured[key]
        for target, tensor in zip(static, inputs, strict=True):
            if tensor is not None:
                target.copy_(tensor)
        graph.replay()
        return output.clone()

    @torch.no_grad()
    def put_back(self, before: dict[int, Tensor]) -> None:
        for tensor in self.changing():
            if id(tensor) in before:
                tensor.copy_(before[id(tensor)])
            else:
                tensor.zero_()

    def capture(self, inputs: tuple[Tensor | None, ...]) -> tuple:
        before = {id(tensor): tensor.detach().clone() for tensor in self.changing()}
        static = [None if tensor is None else tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(*static)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.step(*static)
        self.put_back(before)
        return graph, static, output
