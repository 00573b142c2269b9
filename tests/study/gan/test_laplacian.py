"""LAPGAN through the training loop that GANs use: what critic and generator are given, and that all of it learns."""

import copy

import pytest
import torch

from study.config import SYSTEMS, make_config
from study.gan.folder import GanFolder
from study.gan.footprint import gan_bytes
from study.gan.sampling import load_generator, sample_images
from study.gan.step import PyramidTraining, build_training
from study.gan.training import draw_batch
from study.training.memory import kept_bytes
from study.training.seeds import make_generator
from tests.support.trainings import run

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")


@pytest.fixture
def config(tiny_settings):
    return make_config(tiny_settings | SYSTEMS["lapgan"] | {"decoder_width": 16, "residual_width": 4})


@pytest.fixture
def batches(config, phantoms):
    draws, order = make_generator(CPU, 0, "test"), torch.arange(64)
    return [draw_batch(config, phantoms.side("train"), order, step, draws) for step in range(2)]


def test_synthetic_images_come_beside_the_real_ones_they_were_made_for(config, batches):
    training = build_training(config, CPU)
    assert type(training) is PyramidTraining
    for fake, batch in zip(training.synthesise(batches), batches, strict=True):
        assert torch.equal(fake[:, 3:], batch.real)
        torch.testing.assert_close(fake[:, :3], training.generator(batch.z, batch.labels, batch.real))


@pytest.mark.parametrize("pieces", [2, 3])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(config, batches, pieces):
    whole, (batch, _) = build_training(config, CPU), batches
    cut = copy.deepcopy(whole)
    cut.micro_batches = pieces
    for one in (whole, cut):
        (fake,) = one.synthesise([batch])
        one.parts = one.critic_step(batch.real, fake, batch.labels, None)
        one.critic_gradients = [parameter.grad for parameter in one.critic.parameters()]
        one.critic.load_state_dict(build_training(config, CPU).critic.state_dict())
        one.loss = one.generator_step(batch.labels, batch.z, batch.real)
    torch.testing.assert_close(cut.parts, whole.parts, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(cut.critic_gradients, whole.critic_gradients, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(cut.loss, whole.loss, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(cut.generator.parameters(), whole.generator.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_a_short_training_changes_all_weights(config, phantoms):
    training = build_training(config, CPU)
    before = copy.deepcopy(training.networks)
    losses = training.run_epoch(phantoms.side("train"), 1)
    assert all(abs(loss) < 100 for loss in losses.values()) and losses["penalty"] == 0
    for name, network in training.networks.items():
        for (key, new), old in zip(network.named_parameters(), before[name].parameters(), strict=True):
            assert not torch.equal(new, old), f"{name}.{key}"


def test_it_learns_the_colour_of_each_class(config, two_colours, tmp_path):
    config = config.model_copy(update={"gan_epochs": 40, "gan_eval_interval": 40, "generator_lr": 2e-3})
    run(config, two_colours, tmp_path)
    labels = torch.tensor([0] * 50 + [1] * 50)
    images = sample_images(load_generator(config, GanFolder(tmp_path), CPU), labels, config, "training").float()
    redness = images[:, 0].mean((1, 2)) - images[:, 1].mean((1, 2))
    assert (redness[:50] > 0).float().mean() > 0.9 and (redness[50:] < 0).float().mean() > 0.9


def test_memory_counts_what_the_real_tensors_keep(config, batches):
    """From shapes alone, the coarser real images and the six channels among it."""
    training, batch = build_training(config, CPU), batches[0]
    (fake,) = training.synthesise([batch])
    made = kept_bytes(lambda: training.generate(batch.z, batch.labels, batch.real))
    seen = kept_bytes(lambda: training.critic(fake.requires_grad_(), batch.labels))
    judged = kept_bytes(lambda: training.critic_objective(batch.real, fake, batch.labels, None))
    assert training.step_bytes(batch) == fake.nbytes + max(judged, made + seen)
    assert fake.shape[1] == 6 and gan_bytes(config) > training.step_bytes(batch)
