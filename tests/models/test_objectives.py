"""Objectives and penalties against cases whose answer is known."""

import math

import pytest
import torch
from torch import nn

from benchmarks.harness.flops import count_flops
from models.critic import BatchNormCritic, Critic
from models.objectives import (
    OBJECTIVES,
    PENALTIES,
    critic_loss,
    generator_loss,
    gradients,
    interpolate_penalty,
    overfitting,
)

torch.set_num_threads(1)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    real, fake = torch.rand(2, 5, 3, 32, 32, dtype=torch.float64)
    return real, fake, torch.tensor([0, 1, 0, 1, 1]), torch.rand(5, 1, 1, 1, dtype=torch.float64)


def gradient_penalty(critic, real, fake, labels, epsilon, input_gradient=None):
    return interpolate_penalty(gradients(critic, input_gradient), real, fake, labels, epsilon)


def linear_critic(scale_of_label):
    """Score = scale[label] * sum of the pixels; its gradient norm is scale * sqrt(number of pixels)."""
    return lambda images, labels: scale_of_label[labels] * images.sum(dim=(1, 2, 3))


def test_penalty_of_a_linear_critic_is_the_closed_form(batch):
    real, fake, labels, epsilon = batch
    scale = torch.tensor([3.0, 0.5], dtype=torch.float64) / real[0].numel() ** 0.5  # norms 3 and 0.5 by class
    penalty = gradient_penalty(linear_critic(scale), real, fake, labels, epsilon)
    assert penalty.item() == pytest.approx((2 * (3 - 1) ** 2 + 3 * (0.5 - 1) ** 2) / 5)


def test_penalty_is_taken_between_real_and_fake(batch):
    real, fake, labels, _ = batch
    seen = []

    def critic(images, labels):
        seen.append(images)
        return images.sum(dim=(1, 2, 3))

    for epsilon in (1.0, 0.0, 0.25):
        gradient_penalty(critic, real, fake, labels, torch.full((5, 1, 1, 1), epsilon, dtype=torch.float64))
    torch.testing.assert_close(seen[0], real)
    torch.testing.assert_close(seen[1], fake)
    torch.testing.assert_close(seen[2], fake + 0.25 * (real - fake))


def test_penalty_of_a_flat_critic_has_finite_gradients(batch):
    real, fake, labels, epsilon = batch
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(lambda x, _: (weight * x).sum(dim=(1, 2, 3)), real, fake, labels, epsilon)
    penalty.backward()
    assert penalty.item() == 1
    assert torch.isfinite(weight.grad)


def test_critic_loss_signs_and_parts(batch):
    _, _, labels, epsilon = batch
    real, fake = torch.ones(5, 3, 32, 32).double(), torch.zeros(5, 3, 32, 32).double()
    scale = torch.full((2,), 1 / real[0].numel(), dtype=torch.float64)  # real scores 1, fake scores 0
    loss, wasserstein, penalty = critic_loss(linear_critic(scale), real, fake, labels, 10.0, epsilon)
    assert wasserstein.item() == pytest.approx(1)
    assert penalty.item() == pytest.approx((real[0].numel() ** -0.5 - 1) ** 2)
    assert loss.item() == pytest.approx(-1 + 10 * penalty)
    assert generator_loss(linear_critic(scale), real, labels).item() == pytest.approx(-1)


@pytest.mark.parametrize(("weight", "with_epsilon"), [(0.0, True), (10.0, False)])
def test_penalty_is_left_out(batch, weight, with_epsilon):
    real, fake, labels, epsilon = batch
    calls = []

    def critic(images, labels):
        calls.append(len(images))
        return images.mean(dim=(1, 2, 3))

    loss, wasserstein, penalty = critic_loss(critic, real, fake, labels, weight, epsilon if with_epsilon else None)
    assert calls == [10]  # real and fake in one forward, no interpolates
    assert penalty == 0 and loss == -wasserstein


def test_critic_loss_has_no_gradient_for_the_generator(batch):
    real, fake, labels, epsilon = batch
    fake.requires_grad_()
    loss, *_ = critic_loss(Critic(32, width=4).double(), real, fake, labels, 10.0, epsilon)
    loss.backward()
    assert fake.grad is None


def test_swapping_labels_changes_the_loss(batch):
    real, fake, labels, epsilon = batch
    torch.manual_seed(1)
    critic = Critic(32, width=4).double()
    loss, *_ = critic_loss(critic, real, fake, labels, 10.0, epsilon)
    swapped, *_ = critic_loss(critic, real, fake, 1 - labels, 10.0, epsilon)
    assert abs(loss - swapped) > 1e-3


def test_parameter_gradients_of_the_loss_match_finite_differences(batch):
    real, fake, labels, epsilon = batch
    torch.manual_seed(2)
    critic = Critic(32, width=2).double()

    def loss():
        return critic_loss(critic, real, fake, labels, 10.0, epsilon)[0]

    loss().backward()
    for parameter in critic.parameters():
        direction = torch.randn_like(parameter)
        step = 1e-6 * direction
        with torch.no_grad():
            parameter += step
            above = loss_value(loss)
            parameter -= 2 * step
            below = loss_value(loss)
            parameter += step
        expected = (above - below) / 2e-6
        torch.testing.assert_close((parameter.grad * direction).sum(), expected, rtol=1e-4, atol=1e-7)


def loss_value(loss):
    with torch.enable_grad():
        return loss().detach()


def test_penalty_under_bfloat16_autocast_stays_near_float32(batch):
    real, fake, labels, epsilon = batch[0].float(), batch[1].float(), batch[2], batch[3].float()
    torch.manual_seed(3)
    critic = Critic(32, width=16)
    exact = gradient_penalty(critic, real, fake, labels, epsilon)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradient_penalty(critic, real, fake.bfloat16(), labels, epsilon)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05)


def penalty_gradients(critic, penalty):
    parameters = list(critic.parameters())
    return torch.autograd.grad(penalty, parameters, materialize_grads=True)  # biases: none, or zeros


@pytest.mark.parametrize("size", [32, 128])
def test_written_out_input_gradient_gives_autograds_penalty_and_gradients(size):
    torch.manual_seed(4)
    critic = Critic(size, width=4).double()
    real, fake = torch.rand(2, 3, 3, size, size, dtype=torch.float64)
    labels, epsilon = torch.tensor([0, 1, 1]), torch.rand(3, 1, 1, 1, dtype=torch.float64)
    plain = gradient_penalty(critic, real, fake, labels, epsilon)
    written_out = gradient_penalty(critic, real, fake, labels, epsilon, critic.input_gradient)
    assert written_out.item() == pytest.approx(plain.item(), rel=1e-12)
    pairs = zip(penalty_gradients(critic, written_out), penalty_gradients(critic, plain), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_slope_at_zero_is_that_of_the_negative_side():
    """Layers that put out exact zeros: their slope decides the gradient."""
    critic = Critic(32, width=2)
    for convolution in critic.convolutions:
        nn.init.zeros_(convolution.weight[0])
    images, labels = torch.rand(2, 3, 32, 32, requires_grad=True), torch.tensor([0, 1])
    (expected,) = torch.autograd.grad(critic(images, labels).sum(), images)
    torch.testing.assert_close(critic.input_gradient(images, labels), expected)


def test_written_out_input_gradient_takes_fewer_operations():
    critic = Critic(32, width=4)
    images, labels, epsilon = torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), torch.rand(2, 1, 1, 1)

    def operations(input_gradient):
        return count_flops(
            lambda: gradient_penalty(critic, images, -images, labels, epsilon, input_gradient).backward()
        )

    assert operations(critic.input_gradient) < 0.75 * operations(None)


def test_a_layer_keeps_one_tensor_for_the_backward_pass():
    critic, kept = Critic(32, width=4), {}
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        critic(images, labels)
    parameters = {parameter.data_ptr() for parameter in critic.parameters()}
    activations = [tensor for pointer, tensor in kept.items() if pointer not in parameters and tensor.ndim == 4]
    assert len(activations) <= 1 + len(critic.convolutions) + 1  # the images, each layer's output, the direction


LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("objective", "at_zero", "critic_at_2", "generator_at_2"),
    [  # the losses where all scores are 0, and where real scores 2 and fake -1
        ("wasserstein", (0, 0), -3, 1),
        ("non_saturating", (2 * LOG2, LOG2), math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.e)),
        ("relativistic", (LOG2, LOG2), math.log1p(math.exp(-3)), math.log1p(math.exp(3))),
        ("hinge", (2, 0), 0, 1),
    ],
)
def test_objectives_in_closed_form(objective, at_zero, critic_at_2, generator_at_2):
    both, zero = OBJECTIVES[objective], torch.zeros(4, dtype=torch.float64)
    assert (both.critic(zero, zero).item(), both.generator(zero, zero).item()) == pytest.approx(at_zero)
    real, fake = zero + 2, zero - 1
    assert both.critic(real, fake).item() == pytest.approx(critic_at_2)
    assert both.generator(real, fake).item() == pytest.approx(generator_at_2)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_overfitting_is_the_mean_sign_of_what_the_objective_tells_real_images_by(objective):
    real, fake = torch.tensor([3.0, 1.0, -1.0, 2.0]), torch.tensor([4.0, 2.0, 0.0, 0.0])
    relative = objective in ("wasserstein", "relativistic")  # one of four real images scores above its synthetic one
    assert overfitting(real, fake, objective) == (-0.5 if relative else 0.5)
    assert overfitting(real + 10, fake + 10, objective) == (-0.5 if relative else 1)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_of_a_linear_critic_in_closed_form(batch, penalty):
    """Its gradient's norm is 3 for class 0 and 0.5 for class 1, at every image; two images of five are of class 0."""
    real, fake, labels, epsilon = batch
    critic = linear_critic(torch.tensor([3.0, 0.5], dtype=torch.float64) / real[0].numel() ** 0.5)
    squares = (2 * 9 + 3 * 0.25) / 5
    expected = {"interpolates": (2 * 4 + 3 * 0.25) / 5, "zero_centred": squares, "real": squares / 2}
    found = PENALTIES[penalty](gradients(critic, None), real, fake, labels, epsilon)
    assert found.item() == pytest.approx(expected[penalty])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_each_penalty_has_autograds_gradients_when_the_chain_is_written_out(batch, penalty):
    real, fake, labels, epsilon = batch
    torch.manual_seed(4)
    critic = Critic(32, width=4).double()
    plain, written_out = (
        PENALTIES[penalty](gradients(critic, how), real, fake, labels, epsilon) for how in (None, critic.input_gradient)
    )
    assert written_out.item() == pytest.approx(plain.item(), rel=1e-12)
    for ours, theirs in zip(penalty_gradients(critic, written_out), penalty_gradients(critic, plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_step_of_each_objective_moves_scores_the_right_way(batch, objective):
    real, fake, labels = batch[0].float(), batch[1].float(), batch[2]
    torch.manual_seed(1)
    critic = Critic(32, width=4)
    optimiser = torch.optim.SGD(critic.parameters(), lr=1e-3)
    loss, before, _ = critic_loss(critic, real, fake, labels, 0.0, None, objective=objective)
    loss.backward()
    optimiser.step()
    assert critic_loss(critic, real, fake, labels, 0.0, None)[1] > before
    fake.requires_grad_()
    (gradient,) = torch.autograd.grad(generator_loss(critic, fake, labels, real, objective), fake)
    assert critic(fake - 0.1 * gradient, labels).mean() > critic(fake, labels).mean()


def test_a_critic_that_needs_them_apart_gets_real_and_synthetic_images_apart(batch):
    real, fake, labels = batch[0].float(), batch[1].float(), batch[2]
    torch.manual_seed(1)
    critic = BatchNormCritic(32, width=4)
    _, gap, _ = critic_loss(critic, real, fake, labels, 0.0, None)
    torch.testing.assert_close(gap, critic(real, labels).mean() - critic(fake, labels).mean())
