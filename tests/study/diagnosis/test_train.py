"""The classifier's training: it learns, chooses on validation, and reads the test side once."""

import dataclasses
from functools import partial

import pytest
import torch

from data_utils.augment import apply_augmentation, draw_augmentation
from data_utils.dataset import Dataset, training_subset
from results.tables.schema import HISTORY, TRIALS
from study.config import CLASSIFIERS, TrialConfig, make_config
from study.diagnosis.sets import Condition
from study.diagnosis.train import new_classifier, train_classifier, training_logits
from study.errors import Diverged
from tests.support import trainings
from tests.support.trainings import ignore, same, stored

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def config(tiny_settings) -> TrialConfig:
    return make_config(tiny_settings | {"classifier_epochs": 4, "dropout": 0.5})


run = partial(trainings.run, train=train_classifier)


@pytest.fixture
def whole(config, phantoms, tmp_path):
    """A training that nothing interrupts."""
    return run(config, phantoms, tmp_path / "whole")


def test_dropout_and_seed_reach_the_weights(config, phantoms, whole, tmp_path):
    expected = stored(tmp_path / "whole")["model"]
    changes = {"dropout": 0.1, "seed": 1, "rotation": 90.0, "zoom": 0.5, "contrast": 0.5, "weight_decay": 0.5}
    changes |= {"classifier_lr": 1e-3, "classifier_batch_size": 8, "classifier_flip": False}
    for field, value in changes.items():
        run(config.model_copy(update={field: value}), phantoms, tmp_path / field)
        assert not same(stored(tmp_path / field)["model"], expected), field


def test_the_balance_of_the_loss_reaches_the_weights(config, phantoms, tmp_path):
    few = training_subset(phantoms, 1.0, 0, 0.25)
    found = []
    for balance in ("none", "class_weights", "focal"):
        run(config.model_copy(update={"balance": balance}), few, tmp_path / balance)
        found.append(stored(tmp_path / balance)["model"])
    assert not same(found[0], found[1]) and not same(found[0], found[2]) and not same(found[1], found[2])


@pytest.mark.parametrize("size", [32, 64])
def test_lite0_starts_from_imagenet_and_learns_small_images(config, two_colours, tmp_path, size):
    changes = CLASSIFIERS["efficientnet_lite0"] | {"image_size": size, "classifier_epochs": 3, "dropout": 0.0}
    config = config.model_copy(update=changes)
    larger = dataclasses.replace(two_colours, images=two_colours.images.repeat(1, 1, size // 32, size // 32))
    backbone, other = (new_classifier(config).features.network.state_dict() for _ in range(2))
    assert same(backbone, other)  # not drawn at random
    result, reports = run(config, larger, tmp_path)
    assert reports[-1]["training_loss"] < reports[0]["training_loss"] and result["classifier_parameters"] > 2e6
    assert not same(stored(tmp_path)["best"]["weights"]["features.network.conv_stem.weight"],
                    backbone["conv_stem.weight"])  # it is trained on


def test_the_classifier_learns_two_colours(config, two_colours, tmp_path):
    result, reports = run(config.model_copy(update={"classifier_epochs": 8}), two_colours, tmp_path)
    assert result["test_auroc"] > 0.95 and result["test_accuracy"] > 0.9
    assert reports[-1]["training_loss"] < reports[0]["training_loss"]
    assert result.keys() <= {*TRIALS.names, "predictions"} and reports[0].keys() <= set(HISTORY.names)


def test_augmentation_is_not_rounded_to_bfloat16(config, phantoms):
    config, seen = config.model_copy(update={"precision": "bfloat16"}), []
    model, train, rows = new_classifier(config), phantoms.side("train"), torch.arange(8)
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    parameters = draw_augmentation(8, torch.Generator().manual_seed(0), rotation=15, zoom=0.1, contrast=0.1)
    logits = training_logits(config, model, train, None, rows, parameters)
    assert torch.equal(seen[0], apply_augmentation(train.images[rows], parameters)) and logits.dtype is torch.bfloat16


def test_a_checkpoint_on_another_gans_images_is_left(config, phantoms, two_colours, whole, tmp_path):
    short, folder = config.model_copy(update={"classifier_epochs": 2}), tmp_path / "continued"
    run(short, two_colours, folder, train=partial(train_classifier, made_by="a GAN 61.5"))
    again = run(config, phantoms, folder, train=partial(train_classifier, made_by="a GAN 62.1"))
    assert again == whole
    run(short, two_colours, tmp_path / "same")
    assert run(config, phantoms, tmp_path / "same") != whole, "the one of the same images is continued"


def test_the_best_epoch_on_validation_is_kept(config, phantoms, tmp_path):
    result, reports = run(config.model_copy(update={"classifier_epochs": 8}), phantoms, tmp_path)
    best = max(reports, key=lambda entry: (entry["validation_auroc"], -entry["validation_loss"]))
    assert result["classifier_epoch"] == best["epoch"]
    assert result["validation_auroc"] == best["validation_auroc"]


def test_test_labels_influence_only_test_columns(config, phantoms, whole, tmp_path):
    labels = phantoms.labels.clone()
    on_test = torch.from_numpy(phantoms.split == "test")
    labels[on_test] = 1 - labels[on_test]
    result, reports = run(config, dataclasses.replace(phantoms, labels=labels), tmp_path / "other")
    changed = {name for name, value in result.items() if value != whole[0][name]}
    assert {"test_auroc", "test_brier"} <= changed
    assert all(name.startswith("test_") for name in changed - {"predictions"})
    without_labels = [[{**row, "label": None} for row in r["predictions"]] for r in (result, whole[0])]
    assert without_labels[0] == without_labels[1]
    assert reports == whole[1]
    assert same(stored(tmp_path / "other"), stored(tmp_path / "whole"))


def test_more_tests_are_predicted_and_influence_nothing(config, phantoms, whole, tmp_path):
    train = phantoms.side("train")
    result = train_classifier(config, phantoms, lambda entry: None, tmp_path, [(Condition("external"), train)])
    rows, external = result["predictions"], [row for row in result["predictions"] if row["side"] == "external"]
    assert [row["image_id"] for row in external] == train.image_ids.tolist()
    assert all(0 <= row["probability"] <= 1 for row in external)
    assert {name: v for name, v in result.items() if name not in ("predictions", "classifier_seconds")} == {
        name: v for name, v in whole[0].items() if name not in ("predictions", "classifier_seconds")
    }
    assert rows[: -len(external)] == whole[0]["predictions"]
    assert {row["corruption"] for row in rows} == {"none"} and {row["strength"] for row in rows} == {0}


def test_the_test_side_is_read_once_and_last(config, phantoms, tmp_path):
    events = []

    class Watched(Dataset):
        def side(self, name):
            events.append(name)
            return super().side(name)

    watched = Watched(**{field.name: getattr(phantoms, field.name) for field in dataclasses.fields(phantoms)})
    train_classifier(config, watched, lambda entry: events.append("report"), tmp_path)
    assert events.count("test") == 1 and events[-1] == "test"


@pytest.mark.parametrize(("function", "loss"), [("apply_augmentation", "training"), ("to_float", "validation")])
def test_nan_in_a_loss_stops_the_training(config, phantoms, tmp_path, monkeypatch, function, loss):
    """The validation loss alone is NaN where the epoch's last step has broken the weights."""
    monkeypatch.setattr(f"study.diagnosis.train.{function}", lambda images, *_: images * float("nan"))
    with pytest.raises(Diverged, match=f"{loss} loss is nan in epoch 1"):
        train_classifier(config, phantoms, ignore, tmp_path)
    assert not list(tmp_path.iterdir())  # no checkpoint with NaN is stored
