"""The GAN's training: every field counts, it learns, and it stops when it diverges."""

import pytest
import torch
from PIL import Image

from results.tables.schema import HISTORY, TRIALS
from study.config import GanConfig, TrialConfig, make_config
from study.errors import Diverged
from study.gan.folder import GanFolder
from study.gan.sampling import load_generator, sample_images
from study.gan.step import build_training
from study.gan.train import check_health, time_is_up, train_gan
from study.training.workers import load_checkpoint
from tests.support.trainings import UNEVEN, ignore, run, same


@pytest.fixture
def config(tiny_settings) -> TrialConfig:
    return make_config(tiny_settings | UNEVEN)

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")


# Another value of each field that decides the weights; the rest decide what is measured.
CHANGES = {
    "backbone": "efficientnetv2_s", "lstm_depth": 2, "lstm_width": 12, "latent_dim": 6, "decoder_width": 24,
    "critic_width": 12, "penalty_weight": 1.0, "penalty_interval": 3, "critic_steps": 1, "gan_batch_size": 16,
    "gan_epochs": 2, "generator_lr": 2e-3, "critic_lr": 2e-3, "adam_beta1": 0.5, "adam_beta2": 0.99,
    "ema_decay": 0.0, "gan_flip": False, "precision": "bfloat16", "seed": 1, "generator": "principal",
    "gan_objective": "relativistic", "penalty": "zero_centred", "weight_clip": 0.01, "critic_augmentation": 0.5,
    "optimiser": "rmsprop", "critic": "batch_norm", "augmentation_target": 0.6,
}  # fmt: skip
EFFICIENTNET_CHANGES = {"backbone_width": 0.5, "backbone_depth": 0.5}
PRINCIPAL_CHANGES = {"gaussians": 2, "residual_width": 8}  # the latter acts for the flow, too: see test_flow
PROJECTED_CHANGES = {"critic_features": "efficientnet_lite0"}
OF_THE_TRIAL = {"training_fraction": 0.5, "positive_fraction": 0.5, "tf32": True}  # applied before the training
HALVING = {"pretraining": "unlabelled"}  # see test_pretraining
MEASURING = {
    "measure_fid": True, "gan_time_limit": 60.0, "gan_eval_interval": 5, "eval_images": 32,
    "feature_extractor": "inception", "image_size": 64,
}  # fmt: skip


def trained_weights(config, dataset, folder) -> dict[str, torch.Tensor]:
    train_gan(config, dataset, ignore, GanFolder(folder))
    state = load_checkpoint(folder, "cpu")
    return {f"{part}.{name}": value for part in ("ema", "critic") for name, value in state[part].items()}


def test_every_field_of_the_gan_reaches_its_weights(config, phantoms, tmp_path):
    base = config.model_copy(update={"gan_epochs": 1, "gan_eval_interval": 1})
    expected = trained_weights(base, phantoms, tmp_path / "base")
    assert same(trained_weights(base, phantoms, tmp_path / "again"), expected)
    for field, value in CHANGES.items():
        changed = trained_weights(base.model_copy(update={field: value}), phantoms, tmp_path / field)
        assert not same(changed, expected), field
    efficientnet = trained_weights(base.model_copy(update={"backbone": "efficientnetv2_s"}), phantoms, tmp_path / "e")
    for field, value in EFFICIENTNET_CHANGES.items():
        settings = {"backbone": "efficientnetv2_s", field: value}
        changed = trained_weights(base.model_copy(update=settings), phantoms, tmp_path / field)
        assert not same(changed, efficientnet), field
    of_components = base.model_copy(update={"generator": "principal"})
    principal = trained_weights(of_components, phantoms, tmp_path / "principal")
    for field, value in PRINCIPAL_CHANGES.items():
        changed = of_components.model_copy(update={field: value})
        assert not same(trained_weights(changed, phantoms, tmp_path / f"principal_{field}"), principal), field
    base = base.model_copy(update={"critic": "projected", "penalty_weight": 0.0})
    projected = trained_weights(base, phantoms, tmp_path / "projected")
    other = trained_weights(base.model_copy(update=PROJECTED_CHANGES), phantoms, tmp_path / "other")
    assert not same(other, projected)


def test_the_key_of_a_gan_depends_on_its_own_fields_only(config):
    key = config.gan_key("data", "code")
    changes = CHANGES | EFFICIENTNET_CHANGES | PRINCIPAL_CHANGES | PROJECTED_CHANGES
    changes |= OF_THE_TRIAL | HALVING | MEASURING
    assert set(changes) == set(GanConfig.model_fields) - {"pretrained"}, "a new field needs a line above"
    for field, value in changes.items():
        assert config.model_copy(update={field: value}).gan_key("data", "code") != key, field
    for field in set(TrialConfig.model_fields) - set(GanConfig.model_fields):
        assert config.model_copy(update={field: "another"}).gan_key("data", "code") == key, field
    assert config.gan_key("other data", "code") != key != config.gan_key("data", "other code")


def test_the_lazy_penalty_is_rarer_and_heavier(config, phantoms, tmp_path, monkeypatch):
    from study.gan import step as module

    calls, penalties, critic_loss = [], [], module.critic_loss

    def spy(critic, real, fake, labels, penalty_weight, epsilon, *more, **objective):
        calls.append((penalty_weight, epsilon is not None))
        losses = critic_loss(critic, real, fake, labels, penalty_weight, epsilon, *more, **objective)
        penalties.append(losses[2].item())
        return losses

    monkeypatch.setattr(module, "critic_loss", spy)
    reports = []
    train_gan(config.model_copy(update={"gan_epochs": 2}), phantoms, reports.append, GanFolder(tmp_path / "lazy"))
    assert calls == [(20.0, True), (20.0, False)] * 3  # across the end of the first epoch too
    assert reports[-1]["penalty"] == pytest.approx(penalties[4]), "the second epoch's mean, of the steps that have one"
    calls.clear()
    changes = {"gan_epochs": 1, "penalty_interval": 1}
    train_gan(config.model_copy(update=changes), phantoms, ignore, GanFolder(tmp_path / "always"))
    assert calls == [(10.0, True)] * 3


def test_the_moving_average_forgets_the_initial_weights_soon(config):
    """A decay of 0.999 alone would still hold 99 % of them after ten steps."""
    training = build_training(config.model_copy(update={"ema_decay": 0.999}), torch.device("cpu"))
    with torch.no_grad():
        for weight, mean in zip(training.generator.parameters(), training.ema.parameters(), strict=True):
            weight.fill_(1)
            mean.fill_(0)
    for step in range(1, 11):
        training.update_ema(step)
    assert all((mean > 0.9).all() and (mean < 1).all() for mean in training.ema.parameters())


def test_a_weight_of_zero_leaves_the_penalty_out(config, phantoms, tmp_path):
    changes = {"penalty_weight": 0.0, "gan_epochs": 1}
    (entry,) = run(config.model_copy(update=changes), phantoms, tmp_path)[1]
    assert entry["penalty"] == 0 and entry["critic_loss"] == -entry["wasserstein"]


def test_result_reports_and_files_of_a_training(config, phantoms, tmp_path):
    result, reports = run(config, phantoms, tmp_path)
    assert result.keys() <= set(TRIALS.names) and reports[0].keys() <= set(HISTORY.names)
    assert result["frechet_first"] == reports[0]["frechet_distance"] and result["gan_epoch"] == 5
    assert result["frechet_distance"] == reports[-1]["frechet_distance"]
    with Image.open(GanFolder(tmp_path).samples) as grid:
        assert grid.width > 8 * 32 and grid.height > 2 * 32
    ema = build_training(config, torch.device("cpu")).ema
    ema.load_state_dict(load_checkpoint(tmp_path, "cpu")["ema"])
    labels = torch.tensor([0, 1] * 40)
    images = sample_images(load_generator(config, GanFolder(tmp_path), torch.device("cpu")), labels, config, "training")
    assert images.shape == (80, 3, 32, 32) and images.dtype == torch.uint8
    assert torch.equal(images, sample_images(ema, labels, config, "training"))
    assert not torch.equal(images, sample_images(ema, labels, config, "evaluation"))


def test_noise_is_drawn_a_batch_at_a_time_and_equals_that_of_one_draw(config, monkeypatch):
    labels, counts, randn = torch.arange(80) % 2, [], torch.randn
    monkeypatch.setattr("study.gan.sampling.for_inference", lambda *arguments: lambda z, labels: z)
    monkeypatch.setattr(torch, "randn", lambda *size, **more: counts.append(size[0]) or randn(*size, **more))
    images = sample_images(torch.nn.Identity(), labels, config, "training")
    monkeypatch.setattr("study.gan.sampling.SAMPLING_BATCH", 80)
    assert torch.equal(images, sample_images(torch.nn.Identity(), labels, config, "training"))
    assert counts == [64, 16, 80]


def test_the_gan_learns_the_colour_of_each_class(tiny_settings, two_colours, tmp_path):
    settings = {"gan_epochs": 40, "gan_eval_interval": 20, "generator_lr": 4e-3, "critic_lr": 4e-3, "adam_beta1": 0.5}
    config = make_config(tiny_settings | settings)
    result, _ = run(config, two_colours, tmp_path)
    assert result["frechet_distance"] < 0.5 * 31000  # an untrained generator's grey is at about 31000
    labels = torch.tensor([0] * 50 + [1] * 50)
    generator = load_generator(config, GanFolder(tmp_path), torch.device("cpu"))
    images = sample_images(generator, labels, config, "training").float()
    redness = images[:, 0].mean((1, 2)) - images[:, 1].mean((1, 2))
    assert (redness[:50] > 0).float().mean() > 0.9 and (redness[50:] < 0).float().mean() > 0.9


def test_an_exploding_training_stops_with_its_reason(config, phantoms, tmp_path):
    explosive = config.model_copy(update={"critic_lr": 1.0, "penalty_weight": 1e6})
    with pytest.raises(Diverged, match=r"GAN diverged: critic loss is .* in epoch \d"):
        train_gan(explosive, phantoms, ignore, GanFolder(tmp_path))


def test_nan_in_the_images_stops_the_training(config, phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr("study.gan.training.to_float", lambda images: images.float() * float("nan"))
    with pytest.raises(Diverged, match="critic loss is nan in epoch 1"):
        train_gan(config, phantoms, ignore, GanFolder(tmp_path))
    assert load_checkpoint(tmp_path, "cpu") is None  # no checkpoint with NaN is stored


def test_a_collapsed_critic_stops_the_training():
    healthy = {"critic_loss": -0.5, "wasserstein": 0.6}
    check_health(healthy, 3)
    with pytest.raises(Diverged, match=r"critic collapsed.* in epoch 3"):
        check_health(healthy | {"wasserstein": 0.0}, 3)
    for loss in (float("nan"), float("-inf"), 1e9, -1e9):
        with pytest.raises(Diverged, match="GAN diverged: critic loss"):
            check_health(healthy | {"critic_loss": loss}, 3)
        with pytest.raises(Diverged, match="GAN diverged: generator loss"):
            check_health({"generator_loss": loss}, 3)


def test_a_time_limit_ends_the_training_within_an_epoch_and_the_gan_is_measured(config, phantoms, tmp_path):
    limited = config.model_copy(update={"gan_epochs": 10**6, "gan_eval_interval": 10**6, "gan_time_limit": 1e-6})
    reports = []
    result = train_gan(limited, phantoms, reports.append, GanFolder(tmp_path))
    assert result["gan_epoch"] == 1 == len(reports) and limited.known_epochs is None
    assert train_gan(limited, phantoms, reports.append, GanFolder(tmp_path))["gan_epoch"] == 1  # goes no further


def test_a_training_ends_with_the_epoch_that_is_nearest_to_its_limit(config):
    limited = config.model_copy(update={"gan_time_limit": 100.0})
    ends = [(1, 60.0), (1, 70.0), (4, 80.0), (4, 90.0), (0, 200.0)]
    assert [time_is_up(limited, epoch, seconds) for epoch, seconds in ends] == [False, True, False, True, False]
    assert not time_is_up(config, 4, 1e9)
