"""Every row of the table of systems trains through the same loop."""

import ast
import re
from pathlib import Path

import pytest
import torch

from data_utils.augment import to_uint8
from study.config import SYSTEMS, make_config
from study.gan.folder import GanFolder
from study.gan.sampling import load_generator, sample_images
from study.gan.step import build_training
from study.gan.train import train_gan
from study.training.seeds import make_generator
from tests.support.trainings import Crash, ignore, run, same, stored

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")
TINY = {"latent_dim": 8, "residual_width": 4, "decoder_width": 16, "gan_epochs": 2}


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


@pytest.mark.parametrize(
    ("name", "more", "crash_at"),
    [
        ("principal_gan", {}, 1),
        ("principal_gan", {}, 2),
        ("projected", {}, 1),
        ("diffusion", {}, 1),
        ("diffusion", {}, 2),
        ("lapgan", {}, 1),
        # its augmentation adapts in the first epoch and in the second or third
        ("stylegan2", {"gan_batch_size": 16, "critic_augmentation": 0.5, "gan_eval_interval": 1}, 1),
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(system, phantoms, tmp_path, name, more, crash_at):
    config = system(name, gan_epochs=3, **more)
    whole = run(config, phantoms, tmp_path / "whole")

    def crash(entry: dict) -> None:
        if entry["epoch"] == crash_at:
            raise Crash

    with pytest.raises(Crash):
        train_gan(config, phantoms, crash, GanFolder(tmp_path / "killed"))
    assert run(config, phantoms, tmp_path / "killed") == whole
    assert same(stored(tmp_path / "killed"), stored(tmp_path / "whole"))


def test_r1_has_the_weight_of_its_paper():
    """gamma / 2 |g|^2, and 16 times that in one step of 16 (Karras et al. 2020, section 3.1 and appendix B)."""
    config = make_config(SYSTEMS["stylegan2"] | {"image_size": 64, "critic_width": 4, "latent_dim": 8})
    training = build_training(config, torch.device("cpu"))
    gamma = 0.0002 * 64**2 / config.gan_batch_size
    real, fake, labels = *torch.rand(2, 4, 3, 64, 64), torch.arange(4) % 2
    images = real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(training.critic(images, labels).sum(), images)
    epsilon = torch.ones(4, 1, 1, 1)
    with_penalty, without = (training.critic_objective(real, fake, labels, e)[0] for e in (epsilon, None))
    expected = 16 * gamma / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
    assert expected > 1e-3
    torch.testing.assert_close(with_penalty - without, expected, rtol=1e-3, atol=0)


def test_a_trained_generator_is_no_longer_the_gaussian(system, phantoms, tmp_path):
    train_gan(system("principal_gan"), phantoms, ignore, GanFolder(tmp_path))
    generator = load_generator(system("principal_gan"), GanFolder(tmp_path), torch.device("cpu"))
    z, labels = torch.randn(4, generator.components + 32 * 32), torch.arange(4) % 2
    assert not torch.equal(generator(z, labels), generator.start(z, labels))


def test_noise_is_no_system(tiny_settings):
    with pytest.raises(ValueError, match="gan_epochs=0 needs generator=principal"):
        make_config(tiny_settings | {"gan_epochs": 0})


def test_the_row_that_the_readme_adds_is_a_system(tiny_settings, phantoms, tmp_path, monkeypatch):
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if block.startswith('"')]
    ((name, fields),) = ast.literal_eval(f"{{{block}}}").items()
    assert name not in SYSTEMS
    monkeypatch.setitem(SYSTEMS, name, fields)
    config = make_config(tiny_settings | fields)
    result, _ = run(config, phantoms, tmp_path)
    assert config.system == name and result["gan_epoch"] == config.gan_epochs
