"""A new training of tiny networks, shared by the tests of its steps and of its back ends."""

import pytest
import torch

from study.config import make_config
from study.gan.step import GanTraining, build_training


@pytest.fixture
def training(tiny_settings) -> GanTraining:
    return build_training(make_config(tiny_settings), torch.device("cpu"))
