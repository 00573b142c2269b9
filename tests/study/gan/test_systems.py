"""Every row of the table of systems trains through the same loop."""

import pytest
import torch

from data_utils.augment import to_uint8
from study.config import SYSTEMS, make_config
from study.gan.folder import GanFolder
from study.gan.sampling import load_generator, sample_images
from study.gan.train import train_gan
from study.training.seeds import make_generator
from tests.support.trainings import Crash, ignore, run, same, stored

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")
TINY = {"latent_dim": 8, "residual_width": 4, "gan_epochs": 2}


@pytest.fixture
def system(tiny_settings):
    """The config of a row, with tiny networks."""

    def config(name: str, **more):
        fields = SYSTEMS[name] | {key: value for key, value in TINY.items() if SYSTEMS[name].get(key) != 0}
        return make_config(tiny_settings | fields | more)

    return config


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_trains_and_its_config_knows_its_name(system, name, phantoms, tmp_path):
    config = system(name)
    result, reports = run(config, phantoms, tmp_path)
    assert config.system == name and result["gan_epoch"] == config.gan_epochs
    assert [entry["epoch"] for entry in reports] == list(range(1, config.gan_epochs + 1)) or [0]
    generator = load_generator(config, GanFolder(tmp_path), torch.device("cpu"))
    assert sample_images(generator, torch.arange(4) % 2, config, "training").shape == (4, 3, 32, 32)


def test_without_epochs_the_images_are_the_gaussians(system, phantoms, tmp_path):
    config = system("principal", precision="bfloat16")
    result, (report,) = run(config, phantoms, tmp_path)
    assert report["epoch"] == 0 and result["frechet_first"] == report["frechet_distance"]
    generator, labels = load_generator(config, GanFolder(tmp_path), torch.device("cpu")), torch.arange(6) % 2
    draws = make_generator("cpu", config.seed, "sample", "training")
    gaussian = to_uint8(generator.start(torch.randn(6, config.z_dim, generator=draws), labels))
    assert torch.equal(sample_images(generator, labels, config, "training"), gaussian)


@pytest.mark.parametrize(("name", "crash_at"), [("principal_gan", 1), ("principal_gan", 2), ("projected", 1)])
def test_a_killed_training_goes_on_bit_for_bit(system, phantoms, tmp_path, name, crash_at):
    config = system(name, gan_epochs=3)
    whole = run(config, phantoms, tmp_path / "whole")

    def crash(entry: dict) -> None:
        if entry["epoch"] == crash_at:
            raise Crash

    with pytest.raises(Crash):
        train_gan(config, phantoms, crash, GanFolder(tmp_path / "killed"))
    assert run(config, phantoms, tmp_path / "killed") == whole
    assert same(stored(tmp_path / "killed"), stored(tmp_path / "whole"))


def test_a_trained_generator_is_no_longer_the_gaussian(system, phantoms, tmp_path):
    train_gan(system("principal_gan"), phantoms, ignore, GanFolder(tmp_path))
    generator = load_generator(system("principal_gan"), GanFolder(tmp_path), torch.device("cpu"))
    z, labels = torch.randn(4, generator.components + 32 * 32), torch.arange(4) % 2
    assert not torch.equal(generator(z, labels), generator.start(z, labels))


def test_noise_is_no_system(tiny_settings):
    with pytest.raises(ValueError, match="gan_epochs=0 needs generator=principal"):
        make_config(tiny_settings | {"gan_epochs": 0})
