"""A GAN that sees all training images without their labels first: which images, at what cost, and after a kill."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from data_utils.dataset import training_subset
from study.config import SYSTEMS, make_config
from study.gan import train as gan
from study.gan.folder import GanFolder
from study.gan.step import GanTraining, build_training
from study.gan.train import is_over, is_pretraining, train_gan
from study.gan.training import without_labels
from study.trial.run import run_trial
from tests.support.trainings import UNEVEN, Crash, ignore, run, same, stored

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")
HALVED = {"pretraining": "unlabelled", "training_fraction": 0.5, "gan_epochs": 6, "gan_eval_interval": 2}


@pytest.fixture
def config(tiny_settings):
    return make_config(tiny_settings | HALVED)


@pytest.fixture
def shown(monkeypatch) -> list:
    """The epochs' sides, in their order."""
    sides, run_epoch = [], GanTraining.run_epoch

    def kept(training, train, epoch):
        sides.append(train)
        return run_epoch(training, train, epoch)

    monkeypatch.setattr(GanTraining, "run_epoch", kept)
    return sides


def part_of(config, dataset):
    return training_subset(dataset, *config.training_groups)


def training_of(dataset):
    """`train_gan` with the data set's training images, called like the trainings of `tests.support.trainings`."""
    unlabelled = dataset.side("train").images

    def train(config, part, report, folder):
        return train_gan(config, part, report, GanFolder(folder), unlabelled=unlabelled)

    return train


def pictures(images: torch.Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images)


def test_the_first_half_shows_all_training_images_and_the_second_the_part_alone(config, phantoms, tmp_path, shown):
    part, result = part_of(config, phantoms), None
    result = run_trial(config, phantoms, ignore, tmp_path / "gans", tmp_path / "trial")
    train, everyone = part.side("train"), pictures(phantoms.side("train").images)
    assert len(shown) == 6 and result["gan_pretraining_epochs"] == 3 and result["gan_epoch"] == 6
    assert result["num_train_real"] == len(train.labels) < len(everyone)  # the classifier's
    first = pictures(torch.cat([side.images for side in shown[:3]]))
    assert set(first) == set(everyone)
    assert {len(side.labels) for side in shown} == {len(train.labels)}  # so that each epoch costs the same
    for side in shown[:3]:
        assert torch.equal(side.labels.sort().values, train.labels.sort().values)
        assert set(side.image_ids) == set(side.groups) == {"unlabelled"}
    assert not torch.equal(shown[0].labels, shown[1].labels)
    for side in shown[3:]:
        assert torch.equal(side.images, train.images) and torch.equal(side.labels, train.labels)


def test_each_image_is_shown_once_before_any_comes_again(config, phantoms):
    images, part = phantoms.side("train").images, part_of(config, phantoms).side("train")
    sides = [without_labels(config, images, part, epoch) for epoch in range(1, 9)]
    in_order = torch.cat([side.images for side in sides])
    assert pictures(in_order[: len(images)]) == pictures(in_order[len(images) : 2 * len(images)]) == pictures(images)
    assert not torch.equal(in_order[: len(images)], in_order[len(images) : 2 * len(images)])  # in another order
    assert torch.equal(without_labels(config, images, part, 5).images, sides[4].images)  # whatever came before it
    others = config.model_copy(update={"seed": 1})
    assert not torch.equal(without_labels(others, images, part, 1).images, sides[0].images)


def test_of_the_whole_training_side_an_epoch_is_a_pass(config, phantoms):
    train = phantoms.side("train")
    for epoch in (1, 2):
        assert pictures(without_labels(config, train.images, train, epoch).images) == pictures(train.images)


def test_neither_held_out_images_nor_labels_outside_the_part_reach_the_weights(config, phantoms, tmp_path):
    part = part_of(config, phantoms)
    run(config, part, tmp_path / "as it is", training_of(phantoms))
    held_out = torch.from_numpy(phantoms.split != "train")
    images = torch.where(held_out[:, None, None, None], 255 - phantoms.images, phantoms.images)
    left_out = torch.from_numpy((phantoms.split == "train") & ~_among(phantoms.image_ids, part.image_ids))
    assert left_out.any()
    other = replace(phantoms, images=images, labels=torch.where(left_out, 1 - phantoms.labels, phantoms.labels))
    same_part = replace(other.keep(~left_out.numpy()))
    run(config, same_part, tmp_path / "other", training_of(other))
    states = [stored(tmp_path / name) for name in ("as it is", "other")]
    for name in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser"):
        assert same(*(state[name] for state in states)), name


def _among(ids, known):
    return torch.tensor([one in set(known) for one in ids]).numpy()


def test_pretraining_reaches_the_weights(config, phantoms, tmp_path):
    part = part_of(config, phantoms)
    run(config, part, tmp_path / "with", training_of(phantoms))
    run(config.model_copy(update={"pretraining": "none"}), part, tmp_path / "without")
    assert not same(stored(tmp_path / "with")["ema"], stored(tmp_path / "without")["ema"])


SYSTEM_FIELDS = {"latent_dim": 8, "residual_width": 4, "decoder_width": 16}
KILLED = {
    "wgan_gp_lstm": UNEVEN | {"gan_epochs": 6},
    "principal_gan": SYSTEMS["principal_gan"] | SYSTEM_FIELDS | {"gan_epochs": 5, "gan_eval_interval": 1},
    "diffusion": SYSTEMS["diffusion"] | SYSTEM_FIELDS | {"gan_epochs": 5, "gan_eval_interval": 1, "gan_batch_size": 16},
}


@pytest.mark.parametrize("crash_at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", KILLED)
def test_a_training_killed_in_either_half_goes_on_bit_for_bit(tiny_settings, phantoms, tmp_path, monkeypatch, name,
                                                               crash_at):
    """Killed within the epoch after `crash_at`: the checkpoint is an earlier epoch's."""
    config = make_config(tiny_settings | HALVED | KILLED[name])
    part, train, check_health = part_of(config, phantoms), training_of(phantoms), gan.check_health
    whole = run(config, part, tmp_path / "whole", train)
    assert whole[0]["gan_pretraining_epochs"] == config.gan_epochs // 2

    def crash(losses, epoch):
        if epoch == crash_at:
            raise Crash
        return check_health(losses, epoch)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(gan, "check_health", crash)
        train(config, part, ignore, tmp_path / "killed")
    assert run(config, part, tmp_path / "killed", train) == whole
    assert same(stored(tmp_path / "killed"), stored(tmp_path / "whole"))


@pytest.mark.parametrize("crash_at", [2, 4, 6])
def test_a_training_killed_after_a_report_goes_on_bit_for_bit(config, phantoms, tmp_path, crash_at):
    part, train = part_of(config, phantoms), training_of(phantoms)
    whole = run(config, part, tmp_path / "whole", train)

    def crash(entry: dict) -> None:
        if entry["epoch"] == crash_at:
            raise Crash

    with pytest.raises(Crash):
        train(config, part, crash, tmp_path / "killed")
    assert run(config, part, tmp_path / "killed", train) == whole
    assert same(stored(tmp_path / "killed"), stored(tmp_path / "whole"))


@pytest.fixture
def limited(config):
    """A new training of 100 seconds."""
    return build_training(config.model_copy(update={"gan_epochs": 10**6, "gan_time_limit": 100.0}), torch.device("cpu"))


def test_half_of_the_time_is_without_labels(limited):
    for epoch, seconds, pretrains in [(0, 0.0, True), (4, 40.0, True), (4, 45.0, False), (9, 46.0, True)]:
        limited.pretraining_epochs = epoch
        assert is_pretraining(limited, epoch, seconds) == pretrains
        assert not is_over(limited, epoch, seconds)


def test_the_second_half_never_ends_in_the_first_again(limited):
    """A slow first epoch may make the time seem nearer than it is."""
    limited.pretraining_epochs = 1
    assert not is_pretraining(limited, 1, 40.0) and not is_pretraining(limited, 2, 40.1)
    assert is_over(limited, 9, 99.0) and not is_over(limited, 9, 90.0)


def test_labels_are_shown_even_where_the_time_is_too_short(config, phantoms, tmp_path, shown):
    part, train = part_of(config, phantoms), training_of(phantoms)
    short = config.model_copy(update={"gan_epochs": 10**6, "gan_eval_interval": 10**6, "gan_time_limit": 1e-6})
    for _ in range(2):  # a finished training goes no further
        result, reports = run(short, part, tmp_path, train)
        assert (result["gan_pretraining_epochs"], result["gan_epoch"], len(reports)) == (1, 2, 1)
    assert [len(set(side.groups)) > 1 for side in shown] == [False, True]


def test_speed_counts_the_images_without_labels(config, phantoms, tmp_path):
    part = part_of(config, phantoms)
    train = partial(train_gan, unlabelled=phantoms.side("train").images)
    result = train(config, part, ignore, GanFolder(tmp_path))
    images = result["gan_images_per_second"] * result["gan_seconds"]
    assert images == pytest.approx(6 * len(part.side("train").labels))


def test_without_pretraining_no_such_images_are_given(config, phantoms, tmp_path):
    with pytest.raises(AssertionError):
        train_gan(config, phantoms, ignore, GanFolder(tmp_path))
