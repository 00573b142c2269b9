"""Flow matching through the training loop that GANs use: pieces, resuming, what it learns, what it refuses."""

import copy

import pytest
import torch

from study.commands.dry_run import forward_flops, gan_flops
from study.config import SYSTEMS, make_config
from study.errors import ConfigError, Diverged
from study.gan.flow import FlowTraining
from study.gan.folder import GanFolder
from study.gan.footprint import gan_bytes, weights_bytes
from study.gan.networks import new_critic
from study.gan.sampling import load_generator, sample_images
from study.gan.step import GanTraining, build_training
from study.gan.train import network_columns, train_gan
from study.gan.training import draw_batch
from study.training.seeds import make_generator
from tests.support.trainings import ignore, run, same, stored

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")


@pytest.fixture
def config(tiny_settings):
    return make_config(tiny_settings | SYSTEMS["diffusion"] | {"residual_width": 4, "gan_batch_size": 20})


@pytest.fixture
def batch(config, phantoms):
    return draw_batch(config, phantoms.side("train"), torch.arange(64), 0, make_generator(CPU, 0, "test"))


def test_the_objective_names_the_kind_of_training(config, tiny_settings):
    assert type(build_training(config, CPU)) is FlowTraining
    assert type(build_training(make_config(tiny_settings), CPU)) is GanTraining


@pytest.mark.parametrize("changes", [{"generator": "flow"}, {"gan_objective": "flow_matching"}])
def test_a_flow_and_its_objective_need_each_other(tiny_settings, changes):
    with pytest.raises(ConfigError, match="generator=flow and gan_objective=flow_matching need each other"):
        make_config(tiny_settings | changes)


@pytest.mark.parametrize("pieces", [2, 3, 20])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(config, batch, pieces):
    whole = build_training(config, CPU)
    torch.nn.init.normal_(whole.generator.velocity.leave.weight, std=0.1)
    cut = copy.deepcopy(whole)
    cut.micro_batches = pieces
    torch.testing.assert_close(*(one.step("generator", batch) for one in (whole, cut)), rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(whole.generator.parameters(), cut.generator.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_the_first_loss_is_that_of_no_velocity(config, batch):
    training = build_training(config, CPU)
    expected = (batch.real - batch.z.view_as(batch.real)).square().mean()
    torch.testing.assert_close(training.step("generator", batch), expected)


def test_a_checkpoint_holds_no_critic(config, phantoms, tmp_path):
    train_gan(config, phantoms, ignore, GanFolder(tmp_path))
    assert not any("critic" in name for name in stored(tmp_path))


def test_every_field_of_the_flow_reaches_its_weights(config, phantoms, tmp_path):
    base = config.model_copy(update={"gan_epochs": 1})
    changes = {"residual_width": 8, "gan_batch_size": 16, "generator_lr": 2e-3, "adam_beta1": 0.5, "adam_beta2": 0.9,
               "ema_decay": 0.0, "gan_flip": False, "precision": "bfloat16", "seed": 1,
               "optimiser": "rmsprop"}  # fmt: skip

    def weights(changed, name):
        train_gan(changed, phantoms, ignore, GanFolder(tmp_path / name))
        return stored(tmp_path / name)["ema"]

    expected = weights(base, "base")
    for field, value in changes.items():
        assert not same(weights(base.model_copy(update={field: value}), field), expected), field


def test_the_flow_learns_the_colour_of_each_class(config, two_colours, tmp_path):
    settings = {"gan_epochs": 60, "gan_eval_interval": 30, "generator_lr": 4e-3, "residual_width": 8}
    config = config.model_copy(update=settings)
    result, reports = run(config, two_colours, tmp_path)
    assert set(reports[0]) & {"critic_loss", "wasserstein", "penalty", "generator_loss"} == {"generator_loss"}
    assert reports[-1]["generator_loss"] < 0.6 and "critic_parameters" not in result  # noise alone has 1
    labels = torch.tensor([0] * 20 + [1] * 20)
    images = sample_images(load_generator(config, GanFolder(tmp_path), CPU), labels, config, "training").float()
    redness = images[:, 0].mean((1, 2)) - images[:, 1].mean((1, 2))
    assert (redness[:20] > 0).float().mean() > 0.9 and (redness[20:] < 0).float().mean() > 0.9


def test_nan_in_the_images_stops_the_training(config, phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr("study.gan.training.to_float", lambda images: images.float() * float("nan"))
    with pytest.raises(Diverged, match="GAN diverged: generator loss is nan in epoch 1"):
        train_gan(config, phantoms, ignore, GanFolder(tmp_path))


def test_no_critic_is_counted(config):
    training = build_training(config, CPU)
    weights = sum(p.nbytes for p in training.generator.parameters())
    assert weights_bytes(training) == 5 * weights
    assert network_columns(training) == {
        "step_backend": "eager", "generator_lstm_parameters": 0, "generator_parameters": weights // 4,
    }  # fmt: skip
    per_image = [gan_bytes(config.model_copy(update={"gan_batch_size": n})) - 5 * weights for n in (1, 4)]
    assert 3.9 < per_image[1] / per_image[0] < 4.1


def test_the_flops_of_a_training_are_three_forward_passes_of_the_velocity(config):
    generator, critic = forward_flops(config)
    assert critic > 0 and new_critic(config) is not None
    assert gan_flops(config, 100) == pytest.approx(config.gan_epochs * 100 * 3 * generator / 10)
