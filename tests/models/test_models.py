"""Shapes, sizes, determinism, conditioning and error messages of generators, critic and classifier."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from models.classifier import build_classifier
from models.critic import BatchNormCritic, Critic
from models.generator import GENERATORS, build_generator, parameter_count
from models.lstm import LSTM

torch.set_num_threads(1)

SMALL = {
    "image_size": 32,
    "latent_dim": 16,
    "lstm_depth": 1,
    "lstm_width": 16,
    "decoder_width": 16,
    "backbone_width": 0.25,
    "backbone_depth": 0.25,
}
PAPER = {"image_size": 128, "latent_dim": 256, "lstm_width": 368, "decoder_width": 256}
LABELS = torch.tensor([0, 1, 1, 0])


def without_gradient(network: nn.Module) -> list[str]:
    """Names of the parameters that the last backward pass has not reached, or only with zeros or infinities."""
    return [
        name for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]  # fmt: skip


def small_generator(backbone="plain", **changes):
    torch.manual_seed(0)
    return build_generator(backbone, **(SMALL | changes))


@pytest.mark.parametrize(
    ("backbone", "lstm_depth", "millions"),
    [("plain", 0, 6.8), ("plain", 2, 12.4), ("efficientnetv2_s", 2, 28.3), ("efficientnetv2_m", 2, 45.7)],
)
def test_parameter_counts_are_within_a_tenth_of_the_papers(backbone, lstm_depth, millions):
    with torch.device("meta"):
        generator = build_generator(backbone, lstm_depth=lstm_depth, **PAPER)
    assert parameter_count(generator) / 1e6 == pytest.approx(millions, rel=0.1)
    if backbone == "plain" and lstm_depth:
        assert parameter_count(generator.recurrence.lstm) / 1e6 == pytest.approx(2.1, rel=0.1)


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
@pytest.mark.parametrize("backbone", GENERATORS)
def test_images_have_the_requested_size_and_lie_within_tanh(backbone, image_size):
    images = small_generator(backbone, image_size=image_size)(torch.randn(4, 16), LABELS)
    assert images.shape == (4, 3, image_size, image_size)
    assert images.abs().max() <= 1
    assert images.std() > 0.01


@pytest.mark.parametrize("lstm_depth", [0, 4])
@pytest.mark.parametrize("backbone", GENERATORS)
def test_every_parameter_of_a_generator_learns(backbone, lstm_depth):
    generator = small_generator(backbone, lstm_depth=lstm_depth)
    generator(torch.randn(4, 16), LABELS).square().sum().backward()
    assert not without_gradient(generator)


@pytest.mark.parametrize("backbone", GENERATORS)
def test_a_generator_depends_on_noise_class_and_seed_only(backbone):
    generator, again = small_generator(backbone).eval(), small_generator(backbone).eval()
    z = torch.randn(4, 16)
    with torch.no_grad():
        images = generator(z, LABELS)
        assert torch.equal(images, again(z, LABELS))
        assert not torch.allclose(images, generator(z, 1 - LABELS))
        assert not torch.allclose(images, generator(-z, LABELS))


@pytest.mark.parametrize("backbone", GENERATORS)
def test_tokens_form_an_8x8_grid(backbone):
    generator = small_generator(backbone)
    assert generator.tokens(torch.randn(2, 24)).shape == (2, 64, 16)


@pytest.mark.parametrize("backbone", ["efficientnetv2_s", "plain"])
def test_generators_train_in_channels_last_bfloat16(backbone):
    generator = small_generator(backbone).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(torch.randn(4, 16), LABELS)
        scores = Critic(32, width=8).to(memory_format=torch.channels_last)(images, LABELS)
    scores.sum().backward()
    assert scores.dtype == torch.float32
    assert not without_gradient(generator)


def test_a_decoder_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="decoder_width=30 must be a multiple of 4"):
        small_generator(decoder_width=30, image_size=64)


def test_an_unreachable_hub_names_the_way_out(monkeypatch):
    create_model = timm.create_model

    def without_hub(*args, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create_model(*args, **options)

    monkeypatch.setattr(timm, "create_model", without_hub)
    with pytest.raises(ValueError, match="HF_HOME"):
        small_generator("efficientnetv2_s", pretrained=True, backbone_width=1.0, backbone_depth=1.0)


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
def test_critic_averages_a_map_of_patches(image_size):
    torch.manual_seed(0)
    critic = Critic(image_size, width=4)
    images = torch.rand(4, 3, image_size, image_size)
    scores = critic.score_map(images, LABELS)
    assert scores.shape == (4, 4, 4)
    torch.testing.assert_close(critic(images, LABELS), scores.mean(dim=(1, 2)))


def test_critic_scores_patches_by_projection_and_images_one_by_one():
    torch.manual_seed(0)
    critic = Critic(32, width=4)
    images = torch.rand(4, 3, 32, 32)
    scores = critic(images, LABELS)
    torch.testing.assert_close(critic(images[:1], LABELS[:1]), scores[:1])
    with torch.no_grad():
        critic.class_embedding.weight[1] = critic.class_embedding.weight[0]
    assert torch.equal(critic(images, LABELS), critic(images, 1 - LABELS))
    assert not torch.allclose(critic(images, LABELS)[1:3], scores[1:3])


def test_a_batch_norm_critic_normalises_all_but_the_first_layer_by_the_batch():
    torch.manual_seed(0)
    critic, images = BatchNormCritic(32, width=4), torch.rand(4, 3, 32, 32)
    first, second, third = critic.features(images)
    assert [len(layer.shape) for layer in (first, second, third)] == [4, 4, 4]
    normed = torch.where(second > 0, second, second / 0.2)  # before LeakyReLU
    torch.testing.assert_close(normed.mean(dim=(0, 2, 3)), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.var(dim=(0, 2, 3), correction=0), torch.ones(8), rtol=0, atol=1e-3)
    assert not torch.allclose(critic(images[:2], LABELS[:2]), critic(images, LABELS)[:2])
    assert parameter_count(critic) == parameter_count(Critic(32, width=4)) + 2 * (8 + 16)


def test_critic_of_the_paper_preset_has_2_8_million_parameters():
    assert parameter_count(Critic(128, width=64)) / 1e6 == pytest.approx(2.8, rel=0.02)


@pytest.mark.parametrize(("backbone", "image_size"), [("small", 32), ("small", 256), ("resnet10t", 64)])
def test_classifier_gives_one_logit_an_image(backbone, image_size):
    torch.manual_seed(0)
    classifier = build_classifier(backbone, image_size=image_size, width=4, lstm_width=8, dropout=0.2)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm's ResNets start some at zero, which blocks gradients
    logits = classifier(torch.rand(4, 3, image_size, image_size))
    assert logits.shape == (4,)
    logits.sum().backward()
    assert not without_gradient(classifier)
    assert all(int(count) == 1 for name, count in classifier.named_buffers() if "num_batches" in name)


def test_classifier_reads_the_map_row_by_row():
    """Changing the last row changes none of the LSTM's outputs for earlier rows; changing the first row does."""
    torch.manual_seed(0)
    classifier = build_classifier("small", image_size=32, width=4, lstm_width=8, lstm_depth=1).eval()
    classifier.features = torch.nn.Identity()
    outputs = []
    classifier.lstm.register_forward_hook(lambda module, inputs, result: outputs.append(result[0]))
    images = torch.rand(1, 16, 4, 4)
    for row in (None, 3, 0):
        changed = images.clone()
        if row is not None:
            changed[:, :, row] += 1
        classifier(changed)
    assert torch.equal(outputs[1][:, :12], outputs[0][:, :12])
    assert not torch.allclose(outputs[2][:, 12:], outputs[0][:, 12:])


def test_small_classifier_learns_a_colour():
    torch.manual_seed(0)
    classifier = build_classifier("small", image_size=32, width=8, lstm_width=16)
    images = torch.rand(64, 3, 32, 32) * 2 - 1
    labels = (torch.arange(64) % 2).float()
    images[:, 0] += 0.3 * labels[:, None, None]
    optimiser = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for _ in range(30):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(classifier(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert ((classifier.eval()(images) > 0) == labels.bool()).float().mean() > 0.95


def test_installed_lite0_weights_are_loaded_without_a_hub():
    settings = {"image_size": 64, "width": 4, "lstm_width": 8, "lstm_depth": 1}
    with torch.no_grad():
        features = build_classifier("tf_efficientnet_lite0", pretrained=True, **settings).features.eval()
        again = build_classifier("tf_efficientnet_lite0", pretrained=True, **settings).features.eval()
        random = build_classifier("tf_efficientnet_lite0", **settings).features.eval()
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        assert torch.equal(features(images), again(images))
        assert not torch.allclose(features(images), random(images))
    pixels = (torch.rand(3, 4, 4) * 255).round()
    normalised = (((pixels / 127.5 - 1) + 1) / 2 - features.mean) / features.std
    torch.testing.assert_close(normalised, (pixels - 127) / 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet5O"}, "resnet50"),
        ({"backbone": "vit_tiny_patch16_224"}, "convolutional"),
        ({"backbone": "swinv2_tiny_window8_256", "image_size": 256}, "channels come last"),
        ({"pretrained": True}, "no ImageNet weights"),
    ],
)
def test_a_classifier_that_cannot_be_built_is_refused(changes, message):
    settings = {"backbone": "small", "image_size": 32, "width": 4, "lstm_width": 8} | changes
    with pytest.raises(ValueError, match=message):
        build_classifier(**settings)


def test_an_lstm_keeps_its_weights_precision_on_a_gpu(monkeypatch):
    """Without a GPU: the test looks at the arguments that torch's LSTM gets."""
    called = []
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda lstm: None)

    def forward(lstm, x):
        called.append((torch.is_autocast_enabled("cuda"), x.dtype))
        return x, (x, x)

    monkeypatch.setattr(nn.LSTM, "forward", forward)
    with FakeTensorMode(), torch.autocast("cuda", torch.bfloat16):
        sequence = torch.empty(2, 5, 8, device="cuda", dtype=torch.bfloat16)
        for dtype in (torch.float32, torch.bfloat16):
            output, _ = LSTM(8, 4, batch_first=True, device="cuda", dtype=dtype)(sequence)
            assert output.dtype == torch.bfloat16
    assert called == [(False, torch.float32), (False, torch.bfloat16)]


def test_a_copied_lstm_has_its_weights_in_one_block_and_trains_as_the_original(monkeypatch):
    flattened = []
    monkeypatch.setattr(LSTM, "flatten_parameters", lambda lstm: flattened.append(lstm))
    lstm = LSTM(4, 8, 2, batch_first=True)
    flattened.clear()
    copied = copy.deepcopy(lstm)
    assert flattened == [copied]
    sequence = torch.randn(3, 5, 4)
    with torch.no_grad():
        copied.weight_ih_l0.mul_(2)
        assert not torch.equal(copied(sequence)[0], lstm(sequence)[0])
        lstm.weight_ih_l0.mul_(2)
        assert torch.equal(copied(sequence)[0], lstm(sequence)[0])
