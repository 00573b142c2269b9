"""Networks as ONNX files with any number of images, equal to PyTorch, and the classifier in 8-bit integers."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from study.bundle.networks import new_session

OPSET = 18
TOLERANCE = 1e-4  # between PyTorch and ONNX Runtime
CALIBRATION_BATCH = 32


def to_onnx(network: nn.Module, inputs: dict[str, Tensor], outputs: list[str], weights_sha256: str) -> bytes:
    """An ONNX file whose inputs and outputs take any number of images; `inputs` are two or more to trace it with.

    The hash of the weights is kept in the file's metadata: it tells a file of another model.
    """
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter uses what PyTorch itself deprecates
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    return with_hash(program.model_proto, weights_sha256)


def with_hash(model: onnx.ModelProto, weights_sha256: str) -> bytes:
    onnx.helper.set_model_props(model, {"weights_sha256": weights_sha256})
    return model.SerializeToString()


@torch.no_grad()
def largest_difference(content: bytes, network: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Between ONNX Runtime and PyTorch, over all outputs, for one image and for all of `inputs`."""
    session = new_session(content, "the exported network")
    differences = []
    for count in (1, len(next(iter(inputs.values())))):
        some = {name: tensor[:count] for name, tensor in inputs.items()}
        expected = network(*some.values())
        found = session.run(None, {name: tensor.numpy() for name, tensor in some.items()})
        expected = expected if isinstance(expected, tuple) else (expected,)
        differences += [np.abs(a - b.numpy()).max() for a, b in zip(found, expected, strict=True)]
    return float(max(differences))


class TrainingImages(CalibrationDataReader):
    """Float images (N, 3, S, S), batch by batch, for ONNX Runtime's calibration."""

    def __init__(self, images: np.ndarray):
        self.batches = iter(np.array_split(images, max(1, len(images) // CALIBRATION_BATCH)))

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def to_int8(content: bytes, images: np.ndarray, weights_sha256: str) -> bytes:
    """A classifier's ONNX file in 8-bit integers.

    Convolutions and matrix products by static quantisation: the ranges of activations are those seen on `images`,
    float32 (N, 3, S, S), of the training side (Jacob et al. 2018, section 3); weights have a range for each output
    channel. ONNX Runtime quantises an LSTM dynamically only: its weights are stored so, and the ranges of its
    activations are taken anew for each input.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, lstm, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "prepared", "lstm", "small"))
        plain.write_bytes(content)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, lstm, op_types_to_quantize=["LSTM"], weight_type=QuantType.QInt8)
        quantize_static(
            lstm,
            small,
            TrainingImages(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return with_hash(onnx.load(small), weights_sha256)
