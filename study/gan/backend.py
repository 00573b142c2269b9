"""How a training step runs: eagerly, with a compiled objective, or as a CUDA graph. On a GPU the fastest is chosen.

The critic's step launches many small kernels, and a GPU waits for its host between them. A compiled objective fuses
them, a CUDA graph replays them all at once. Neither changes what is computed. Before a backend is used it must give
eager autograd's gradient on the training's first batch: a compiled gradient penalty has silently lost its gradient.
"""

import copy
import logging
import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from data_utils.dataset import Side
from study.config import GanConfig
from study.gan.training import Batch, Training, draw_batch
from study.training.memory import free_memory
from study.training.seeds import make_generator
from study.training.workers import num_workers

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # relative, of the gradient: rounding only
TIMED_STEPS = 10
WORTH_COMPILING = 300.0  # seconds of eager training; compiling takes a good part of a minute in each process
WARM_UP = 3  # calls before a capture, during which libraries choose their kernels
logger = logging.getLogger(__name__)


def use_compiled(training: Training) -> None:
    """The objective becomes one compiled graph; backward and the optimiser stay outside."""
    name = f"{training.trained[-1]}_objective"
    setattr(training, name, torch.compile(getattr(training, name), dynamic=False))


def use_cuda_graph(training: Training) -> None:
    """Each network's step becomes a CUDA graph."""
    for network in training.trained:
        name = f"{network}_step"
        setattr(training, name, Graphed(getattr(training, name), lambda: changing_tensors(training)))


BACKENDS: dict[str, Callable[[Training], None]] = {
    "eager": lambda training: None,
    "cuda_graph": use_cuda_graph,
    "compiled": use_compiled,  # the last: whether it is worth its time depends on the others
}


def use_backend(training: Training, name: str) -> None:
    """Run the steps of `training` on this backend from now on."""
    BACKENDS[name](training)
    training.backend = name


def choose_backend(training: Training, train: Side, stored: str | None = None) -> str:
    """Name of the fastest backend with the right gradient; `training` stays as it is.

    A continued training keeps its `stored` backend if that is still right on this machine. On a CPU, and with several
    workers, which exchange gradients within a step, the backend is `eager`.
    """
    device = train.images.device
    if device.type == "cpu" or num_workers() > 1:
        return "eager"
    draws = make_generator(device, training.config.seed, "gan", "backend")
    order = torch.arange(len(train.labels), device=device)
    batch = draw_batch(training.config, train, order, 0, draws)
    if stored:
        return fastest(training, batch, ("eager", stored), stored)
    return fastest(training, batch, tuple(BACKENDS), steps=training.config.gan_epochs * training.steps_in_epoch(train))


def fastest(
    training: Training,
    batch: Batch,
    candidates: tuple[str, ...],
    preferred: str | None = None,
    steps: float = math.inf,
) -> str:
    """Name of the fastest candidate with eager autograd's gradient, or of the preferred one if it has that gradient.

    A training of so few `steps` that compiling would not be earned back is not compiled. The log says why a candidate
    is not used.
    """
    expected, seconds = reference_gradient(training, batch), {}
    for name in candidates:
        if name == "compiled" != preferred and training_seconds(training.config, steps, seconds) < WORTH_COMPILING:
            continue
        try:
            seconds[name] = checked_seconds(training, batch, name, expected)
        except Exception as failure:  # compilers and drivers may raise anything; eager always works
            if name == "eager":
                raise
            logger.warning("step backend %s is not used: %s", name, failure)
        free_memory()
    logger.info("milliseconds a step: %s", {name: round(1e3 * each, 2) for name, each in seconds.items()})
    return preferred if preferred in seconds else min(seconds, key=seconds.__getitem__)


def training_seconds(config: GanConfig, steps: float, seconds: dict[str, float]) -> float:
    """How long a training takes at most with the fastest backend so far."""
    return config.gan_time_limit or steps * min(seconds.values(), default=math.inf)


def checked_seconds(training: Training, batch: Batch, name: str, expected: Tensor) -> float:
    """Seconds a step takes on a copy with this backend. Raises ArithmeticError for another gradient than expected."""
    trial = copy.deepcopy(training)
    use_backend(trial, name)
    with warnings.catch_warnings():
        # A copied optimiser warns again.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        error = check_gradient(trial, batch, expected)
        if not error < TOLERANCE[training.config.precision]:  # also true for NaN
            raise ArithmeticError(f"its gradient differs from eager autograd's by {error:.1e}")
        return time_steps(trial, batch)


def reference_gradient(training: Training, batch: Batch) -> Tensor:
    """The gradient of the loss by plain autograd, as one vector."""
    weights = list(training.networks[training.trained[-1]].parameters())
    return flat(torch.autograd.grad(training.reference_loss(batch), weights, materialize_grads=True))


def check_gradient(trial: Training, batch: Batch, expected: Tensor) -> float:
    """Relative error of the gradient of one step, which is carried out."""
    network = trial.trained[-1]
    getattr(trial, f"{network}_step")(*trial.inputs(batch))
    weights = trial.networks[network].parameters()
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in weights]
    return ((flat(gradients) - expected).norm() / expected.norm()).item()


def time_steps(trial: Training, batch: Batch) -> float:
    """Seconds of a step, with its share of the steps of the other network."""
    wait = torch.cuda.synchronize if batch.real.is_cuda else lambda: None
    trial.iterate(batch, 1)  # which captures
    wait()
    started = time.perf_counter()
    trial.iterate(batch, TIMED_STEPS)
    wait()
    return (time.perf_counter() - started) / TIMED_STEPS


def flat(tensors) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in tensors])


def changing_tensors(training: Training) -> list[Tensor]:
    """Every tensor that a step changes: weights, running statistics, optimiser states."""
    networks = training.networks.values()
    found = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    for optimiser in training.optimisers.values():
        for state in optimiser.state.values():
            found += [tensor for tensor in state.values() if isinstance(tensor, Tensor)]
    return found


class Graphed:
    """`step(*inputs)` as a CUDA graph, captured at the first call with inputs of these shapes and replayed afterwards.

    Capturing runs the step, which changes weights and optimiser states (`changing`). They are restored in place, since
    the graph keeps their addresses; optimiser states that did not exist before start at zero again.
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
    def restore(self, before: dict[int, Tensor]) -> None:
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
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # these steps run before the capture
            for _ in range(WARM_UP):
                self.step(*static)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.step(*static)
        self.restore(before)
        return graph, static, output
