"""A bundle's networks, run by ONNX Runtime or by PyTorch, behind two functions on numpy arrays.

Nothing here imports torch unless an engine asks for it: `onnx` and `int8` work without it.
"""

from collections.abc import Callable

import numpy as np

from study.bundle.folder import INT8, ONNX, Bundle
from study.errors import ConfigError

ENGINES = ("onnx", "int8", "torch", "cuda")
BATCH = 64
# uint8 (B, 3, S, S) -> logits (B,) and features (B, C), both float32
Classifier = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
# z (B, z_dim) float32, labels (B,) int64 -> uint8 (B, 3, S, S)
Generator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def load_classifier(bundle: Bundle, engine: str = "onnx") -> Classifier:
    """The classifier of a bundle. Raises ConfigError for an engine that cannot run here, and for a foreign file."""
    if engine in ("torch", "cuda"):
        return _torch_networks().torch_classifier(bundle, engine)
    run = onnx_session(bundle, INT8 if engine == "int8" else ONNX["classifier"], ["images"])
    return lambda images: tuple(in_batches(run, ["logits", "features"], images, engine))


def in_batches(run: Callable, outputs: list[str], images: np.ndarray, engine: str) -> list[np.ndarray]:
    """The outputs of an ONNX session's `run` for uint8 images (N, 3, S, S).

    One at a time with 8-bit integers, whose LSTM takes its range from a whole batch: an answer would depend on what
    else is in the folder.
    """
    size = 1 if engine == "int8" else BATCH
    batches = (to_float(images[start : start + size]) for start in range(0, len(images), size))
    return list(map(np.concatenate, zip(*(run(outputs, {"images": batch}) for batch in batches), strict=True)))


def load_generator(bundle: Bundle, engine: str = "onnx") -> Generator:
    """The generator of a bundle. Raises ConfigError as `load_classifier`, and where the bundle has none."""
    if not bundle.has_generator:
        raise ConfigError(
            f"{bundle.folder} has no generator: its trial {bundle.about['trial_id']} was trained on real images alone; "
            "export another: study/export.py STUDY --trial ID"
        )
    if engine == "int8":
        raise ConfigError("--engine int8 is the classifier's; the generator runs with onnx, torch or cuda")
    if engine in ("torch", "cuda"):
        return _torch_networks().torch_generator(bundle, engine)
    run = onnx_session(bundle, ONNX["generator"], ["z", "labels"])
    return lambda z, labels: to_uint8(run(["images"], {"z": z, "labels": labels})[0])


def onnx_session(bundle: Bundle, name: str, inputs: list[str]) -> Callable:
    """`run(outputs, inputs)` of one of the bundle's ONNX files; ConfigError for a file of another model."""
    session = new_session(bundle.read(name), str(bundle.folder / name))
    part = name.split(".")[0].removesuffix("_int8")
    made_from = session.get_modelmeta().custom_metadata_map.get("weights_sha256")
    if [i.name for i in session.get_inputs()] != inputs or made_from != bundle.hashes[f"{part}.safetensors"]:
        raise ConfigError(f"{bundle.folder / name} is of another model than the bundle's weights; export it again")
    return session.run


def new_session(content: bytes, name: str):
    """An ONNX Runtime session on the CPU; ConfigError where the package is missing or the file is no network."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError(
            "onnxruntime is not installed: pip install onnxruntime, or add --engine torch where PyTorch is installed"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: the runtime's warnings concern its own optimisation
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions share no base class
        raise ConfigError(f"{name} cannot be run by ONNX Runtime ({type(error).__name__}); export it again") from None


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 in [0, 255] -> float32 in [-1, 1]: `data_utils.augment.to_float` in numpy."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] -> uint8 in [0, 255], rounded: `data_utils.augment.to_uint8` in numpy."""
    return ((images + np.float32(1)) * np.float32(127.5)).round().clip(0, 255).astype(np.uint8)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 (N,) of logits (N,), without overflow."""
    return (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)


def _torch_networks():
    try:
        from study.bundle import torch_networks
    except ModuleNotFoundError as error:
        raise ConfigError(f"--engine torch needs PyTorch and this project's packages: {error}") from None
    return torch_networks
