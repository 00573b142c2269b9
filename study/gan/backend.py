"""How a training step runs: eagerly, or on a GPU as a CUDA graph.

A step launches hundreds of small kernels, and a GPU waits for its host between them. A CUDA graph replays them all at
once, 5 to 16 times as fast (docs/measurements.md), and computes the same. Before it is used it must give eager
autograd's gradient on the training's first batch: a compiled gradient penalty has silently lost its gradient.
"""

import copy
import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from data_utils.dataset import Side
from study.gan.training import Batch, Training, draw_batch
from study.training.memory import free_memory
from study.training.seeds import make_generator
from study.training.workers import num_workers

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # relative, of the gradient: rounding only
WARM_UP = 3  # calls before a capture, during which libraries choose their kernels
EAGER, CUDA_GRAPH = "eager", "cuda_graph"
logger = logging.getLogger(__name__)


def use_backend(training: Training, name: str) -> None:
    """Run the steps of `training` on this backend from now on."""
    training.backend = name
    if name == CUDA_GRAPH:
        for network in training.trained:
            step = getattr(training, f"{network}_step")
            setattr(training, f"{network}_step", Graphed(step, lambda: changing_tensors(training)))


def choose_backend(training: Training, train: Side, stored: str | None = None) -> str:
    """Name of the backend for a new training, or for one that is continued from `stored`; it stays as it is.

    On a CPU, and with several workers, which exchange gradients within a step, the backend is `eager`.
    """
    device = train.images.device
    if device.type == "cpu" or num_workers() > 1 or stored == EAGER:
        return EAGER
    draws = make_generator(device, training.config.seed, "gan", "backend")
    order = torch.arange(len(train.labels), device=device)
    return checked_backend(training, draw_batch(training.config, train, order, 0, draws))


def checked_backend(training: Training, batch: Batch) -> str:
    """`cuda_graph` if every step of a copy runs as one, with the right gradient; the log says why not."""
    try:
        check_steps(training, batch)
        return CUDA_GRAPH
    except Exception as failure:  # drivers may raise anything; eager always works
        logger.warning("step backend %s is not used: %s", CUDA_GRAPH, failure)
        return EAGER
    finally:
        free_memory()


def check_steps(training: Training, batch: Batch) -> None:
    """Run each step of a copy as a CUDA graph. Raises ArithmeticError for another gradient than plain autograd's."""
    *others, network = training.trained
    weights = list(training.networks[network].parameters())
    losses = training.reference_losses(batch)
    expected = sum(flat(torch.autograd.grad(loss, weights, materialize_grads=True)) for loss in losses)
    trial = copy.deepcopy(training)
    use_backend(trial, CUDA_GRAPH)
    with warnings.catch_warnings():
        # A copied optimiser warns again.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        trial.step(network, batch)
        weights = trial.networks[network].parameters()
        found = flat([p.grad if p.grad is not None else torch.zeros_like(p) for p in weights])
        error = ((found - expected).norm() / expected.norm()).item()
        if not error < TOLERANCE[training.config.precision]:  # also true for NaN
            raise ArithmeticError(f"its gradient differs from eager autograd's by {error:.1e}")
        for other in others:
            trial.step(other, batch)


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
