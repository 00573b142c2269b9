"""The same trial on a CUDA device; run with `pytest -m gpu`."""

import math

import pytest
import torch

from data_utils.dataset import load_dataset
from data_utils.prepare import prepare
from study.config import make_config, preset
from study.trial.run import run_trial

pytestmark = pytest.mark.gpu
TINY = {"gan_epochs": 2, "gan_eval_interval": 1, "eval_images": 32, "classifier_epochs": 2}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("backbone", ["plain", "efficientnetv2_s"])
def test_trial_runs_on_the_gpu(tmp_path, backbone, precision):
    config = make_config(preset("smoke") | TINY | {"backbone": backbone, "precision": precision})
    dataset = load_dataset(prepare(None, tmp_path, image_size=32).path, 32, "cuda")
    reports = []
    result = run_trial(config, dataset, reports.append, tmp_path / "gans", tmp_path / "checkpoints")
    assert all(math.isfinite(entry["frechet_distance"]) for entry in reports if entry["stage"] == "gan")
    assert 0 <= result["test_auroc"] <= 1
    assert result["peak_memory_bytes"] < torch.cuda.get_device_properties(0).total_memory
