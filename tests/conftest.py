"""A tiny prepared data set and tiny networks, shared by the tests of the training loops and of the command."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from data_utils.dataset import Dataset, load_dataset
from data_utils.phantoms import render_phantoms
from data_utils.prepare import prepare
from data_utils.prepared import Prepared
from tests.support.features import PixelQuality

pytest_plugins = ["tests.support.command"]


@pytest.fixture(scope="session")
def real_patches() -> Path:
    """A folder of real patches of 2021's Foot Ulcer Segmentation Challenge, one a class; skips where there is none."""
    folder = Path(os.environ.get("FOOT_ULCER_PATCHES", "../shared/data/foot_ulcer_patches"))
    if not folder.is_dir():
        pytest.skip("FOOT_ULCER_PATCHES names no folder of real patches")
    return folder


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory) -> Path:
    """96 phantoms of 48 lesions as files of 32 px, in a folder per class."""
    root = tmp_path_factory.mktemp("phantoms")
    for number, (pixels, label, lesion) in enumerate(render_phantoms(num_lesions=48, views=2, size=32)):
        folder = root / ("infected" if label else "clean")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"lesion{lesion.split()[1]}_{number}.png")
    return root


@pytest.fixture(scope="session")
def prepared_phantoms(phantom_folder, tmp_path_factory) -> Prepared:
    """The phantoms prepared at 32 px: about 67 training images. Do not write into its folder."""
    return prepare(phantom_folder, tmp_path_factory.mktemp("prepared"), image_size=32)


@pytest.fixture(scope="session")
def phantoms(prepared_phantoms) -> Dataset:
    """The prepared phantoms as tensors."""
    return load_dataset(prepared_phantoms.path, 32)


@pytest.fixture(scope="session")
def two_colours(phantoms) -> Dataset:
    """The phantoms' labels and split, with noisy plain colours for images: class 0 red, class 1 green."""
    colours = torch.tensor([[200, 60, 60], [60, 200, 60]])[phantoms.labels]
    noise = torch.randint(-20, 21, phantoms.images.shape, generator=torch.Generator().manual_seed(0))
    return replace(phantoms, images=(colours[:, :, None, None] + noise).to(torch.uint8))


@pytest.fixture(scope="session")
def tiny_settings() -> dict:
    """Config fields for which a whole trial takes a few seconds on one thread."""
    return {
        "image_size": 32, "latent_dim": 8, "lstm_depth": 1, "lstm_width": 8, "decoder_width": 16, "critic_width": 8,
        "backbone_width": 0.25, "backbone_depth": 0.25, "critic_steps": 2, "gan_batch_size": 16, "gan_epochs": 2,
        "gan_eval_interval": 1, "generator_lr": 1e-3, "critic_lr": 1e-3, "ema_decay": 0.9, "eval_images": 16,
        "measure_fid": False, "classifier_width": 8, "classifier_lstm_width": 8, "classifier_epochs": 2,
        "classifier_batch_size": 16,
        "classifier_lr": 2e-3,
    }  # fmt: skip


@pytest.fixture
def one_thread():
    """Run a test on one thread: tiny networks are faster so, and sums are in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)



@pytest.fixture
def pixel_quality(monkeypatch):
    """GANs trained in this process are measured by `PixelQuality`: no network to load."""
    monkeypatch.setattr("study.gan.train.GanQuality", PixelQuality)
    monkeypatch.setattr("study.trial.selection.GanQuality", PixelQuality)
