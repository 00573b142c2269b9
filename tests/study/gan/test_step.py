"""One epoch: batches in pieces, synthetic images of several steps at once, rounds across the ends of epochs."""

import copy

import pytest
import torch

from models.augmentation import ADAPTATION, diff_augment
from study.config import make_config
from study.gan.step import ADAPTATION_INTERVAL, build_training, draw_batch, rounds
from study.training.seeds import make_generator

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def batches(training, phantoms):
    draws, order = make_generator(CPU, 0, "test"), torch.arange(64)
    return [draw_batch(training.config, phantoms.side("train"), order, step, draws) for step in range(2)]


@pytest.mark.parametrize(("first", "end", "expected"), [
    (0, 5, [range(0, 2), range(2, 4), range(4, 5)]),
    (5, 10, [range(5, 6), range(6, 8), range(8, 10)]),  # the epoch before has left a round half done
    (3, 3, []),
])  # fmt: skip
def test_rounds_end_where_a_generator_step_follows(first, end, expected):
    assert list(rounds(first, end, critic_steps=2)) == expected


def augment(training, share: float, **more) -> None:
    """Have this share of the images augmented from now on."""
    training.config = training.config.model_copy(update={"critic_augmentation": share, **more})
    training.augmentation.fill_(share)


def gradients_of(network) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])


@pytest.mark.parametrize(("pieces", "augmented"), [(2, 0.0), (3, 0.0), (16, 0.0), (3, 0.7)])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(training, batches, pieces, augmented):
    augment(training, augmented)
    draws = training.draw_augmentation(make_generator(CPU, 1, "test"))
    whole, cut = training, copy.deepcopy(training)
    cut.micro_batches = pieces
    (fake,) = whole.synthesise(batches[:1])
    batch, results = batches[0], []
    for one in (whole, cut):
        parts = one.critic_step(batch.real, fake, batch.labels, batch.epsilon)
        of_critic = gradients_of(one.critic)
        one.critic.load_state_dict(training.critic.state_dict())
        loss = one.generator_step(batch.labels, batch.z, batch.real, draws)
        results.append((parts, of_critic, loss, gradients_of(one.generator)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_critic_sees_real_and_synthetic_images_augmented_alike(training, batches):
    fakes = training.synthesise(batches)
    assert training.augment(batches, fakes, make_generator(CPU, 1, "test")) == (batches, fakes)
    augment(training, 1.0)
    changed, changed_fakes = training.augment(batches, fakes, make_generator(CPU, 1, "test"))
    for before, after in zip([b.real for b in batches] + fakes, [b.real for b in changed] + changed_fakes, strict=True):
        assert before.shape == after.shape and ((after == 0).flatten(1).sum(dim=1) > 0).all()  # the hole
    assert all(torch.equal(b.z, c.z) for b, c in zip(batches, changed, strict=True))


def test_the_generator_learns_through_the_augmentation(training, batches):
    """Its gradient is autograd's through generator, augmentation and critic in one."""
    augment(training, 1.0)
    draws, batch = training.draw_augmentation(make_generator(CPU, 1, "test")), batches[0]
    plain = copy.deepcopy(training)
    loss = -plain.critic(diff_augment(plain.generator(batch.z, batch.labels), draws), batch.labels).mean()
    loss.backward()
    training.generator_step(batch.labels, batch.z, batch.real, draws)
    torch.testing.assert_close(gradients_of(training.generator), gradients_of(plain.generator), rtol=1e-4, atol=1e-6)


def scores_all(training, sign: float) -> None:
    """Make the critic score every image so, whatever it shows."""
    with torch.no_grad():
        for weights in (training.critic.score.weight, training.critic.class_embedding.weight):
            weights.zero_()
        training.critic.score.bias.fill_(sign)


@pytest.mark.parametrize("pieces", [1, 3])
def test_adaptive_augmentation_rises_with_sure_scores_and_falls_with_wrong_ones(training, batches, pieces):
    augment(training, 0.5, augmentation_target=0.6, gan_objective="non_saturating")
    training.micro_batches, batch, address = pieces, batches[0], training.augmentation.data_ptr()
    (fake,) = training.synthesise(batches[:1])
    step = ADAPTATION_INTERVAL * training.config.gan_batch_size / ADAPTATION
    for sign, end in ((1, 1), (-1, 0)):
        scores_all(training, sign)
        before = training.augmentation.item()
        training.adapt_augmentation(batch.real, fake, batch.labels)
        expected = min(before + step, 1) if sign > 0 else max(before - step, 0)
        assert training.augmentation.item() == pytest.approx(expected)
        for _ in range(int(1 / step) + 1):
            training.adapt_augmentation(batch.real, fake, batch.labels)
        assert training.augmentation.item() == end
    assert training.augmentation.data_ptr() == address  # where a CUDA graph reads it


def test_an_epoch_adapts_at_every_fourth_step_and_a_fixed_share_stays(training, phantoms):
    train = phantoms.side("train")
    assert training.run_epoch(train, 1)["augmentation"] == 0
    augment(training, 0.5)
    assert training.run_epoch(train, 1)["augmentation"] == 0.5
    augment(training, 0.5, augmentation_target=0.99)  # as good as out of reach
    steps = training.steps_in_epoch(train)
    changes = len(range(0, steps, ADAPTATION_INTERVAL))
    expected = 0.5 - changes * ADAPTATION_INTERVAL * training.config.gan_batch_size / ADAPTATION
    assert training.run_epoch(train, 1)["augmentation"] == pytest.approx(expected)


def test_clipped_weights_stay_within_the_bound(training, batches):
    training.config = training.config.model_copy(update={"weight_clip": 0.01})
    (fake,) = training.synthesise(batches[:1])
    training.critic_step(batches[0].real, fake, batches[0].labels, None)
    largest = max(weights.detach().abs().max().item() for weights in training.critic.parameters())
    assert largest == pytest.approx(0.01)


@pytest.mark.parametrize("backbone", ["plain", "efficientnetv2_s"])
def test_fakes_of_several_steps_are_those_of_one_call_each(tiny_settings, phantoms, batches, backbone):
    at_once = build_training(make_config(tiny_settings | {"backbone": backbone}), CPU)
    one_by_one = copy.deepcopy(at_once)
    together = at_once.synthesise(batches)
    for fake, batch in zip(together, batches, strict=True):
        torch.testing.assert_close(fake, one_by_one.synthesise([batch])[0], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(at_once.generator.buffers(), one_by_one.generator.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)  # batch norm has seen each batch by itself


def test_optimisers_stored_on_a_gpu_continue_on_a_cpu(training, batches):
    stored = training.state(1, [], 0.0)
    for name in ("generator_optimiser", "critic_optimiser"):
        for group in stored[name]["param_groups"]:
            group["capturable"] = True
    training.load(stored)
    batch = batches[0]
    (fake,) = training.synthesise([batch])
    assert training.critic_step(batch.real, fake, batch.labels, batch.epsilon).isfinite().all()
    assert not any(group["capturable"] for group in training.critic_optimiser.param_groups)


def test_the_generator_step_leaves_the_critic_as_it_was(training, batches):
    before = copy.deepcopy(training.critic.state_dict())
    training.generator_step(batches[0].labels, batches[0].z, batches[0].real)
    assert all(torch.equal(before[name], value) for name, value in training.critic.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in training.critic.parameters())
