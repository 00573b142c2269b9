"""Every kind of generator becomes an ONNX file that equals it for any number of images."""

import pytest
import torch

from study.bundle.exporting.onnx_file import TOLERANCE, largest_difference, to_onnx
from study.bundle.torch_networks import rebuilt_generator
from study.config import SYSTEMS, make_config
from study.gan.networks import new_generator


@pytest.mark.parametrize(
    "changes",
    [
        {"lstm_depth": 0},
        {"backbone": "efficientnetv2_s", "lstm_depth": 2},
        {"generator": "principal", "residual_width": 8},
        {"generator": "style", "decoder_width": 16},
        {"generator": "fast", "image_size": 64},
        {"generator": "flow", "gan_objective": "flow_matching", "residual_width": 4},
        {**SYSTEMS["lapgan"], "decoder_width": 16, "residual_width": 4},
    ],
    ids=lambda changes: "-".join(map(str, list(changes.values())[:3])),
)
def test_a_generator_and_its_onnx_file_agree(tiny_settings, changes):
    config = make_config(tiny_settings | changes)
    torch.manual_seed(0)
    generator = new_generator(config)
    for name, tensor in [*generator.named_parameters(), *generator.named_buffers()]:
        if tensor.is_floating_point() and "running_var" not in name:
            tensor.data.normal_(std=0.05)  # so that no part is silent
    model = rebuilt_generator(config, generator.state_dict())
    inputs = {"z": torch.randn(5, config.z_dim), "labels": torch.arange(5) % 2}
    onnx = to_onnx(model, inputs, ["images"], "0" * 64)
    with torch.no_grad():
        assert model(**inputs).std() > 0.01
    assert largest_difference(onnx, model, inputs) < TOLERANCE
