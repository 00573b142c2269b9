"""A training that was interrupted and continued equals an uninterrupted one bit for bit."""

import pytest

from study.config import make_config
from study.diagnosis import train as diagnosis
from study.gan import train as gan
from study.storage.checkpoint import delete_checkpoints, save_checkpoint
from study.training.workers import load_checkpoint
from tests.support.damage import damage, newest
from tests.support.trainings import UNEVEN, Crash, in_gan_folder, run, same, stored

pytestmark = pytest.mark.usefixtures("one_thread", "pixel_quality")

# name: training, settings, module, and a function of it that is called once an epoch
TRAININGS = {
    "gan": (in_gan_folder, UNEVEN, gan, "check_health"),
    "classifier": (diagnosis.train_classifier, {"classifier_epochs": 4, "dropout": 0.5}, diagnosis, "predict"),
}


@pytest.fixture
def training(request, phantoms, tiny_settings, tmp_path):
    """A function that crashes a training by `report` or within an epoch, continues it, and compares."""
    train, settings, *_ = TRAININGS[request.param]
    config, broken = make_config(tiny_settings | settings), tmp_path / "broken"

    def check(interrupt) -> None:
        expected = run(config, phantoms, tmp_path / "whole", train)
        interrupt(lambda report: train(config, phantoms, report, broken), broken)
        assert run(config, phantoms, broken, train) == expected
        assert same(stored(broken), stored(tmp_path / "whole"))

    return check


def crash_at(number: int, function=lambda *_: None):
    """The function, raising Crash at its call `number`."""
    calls = []

    def crashing(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise Crash
        return function(*arguments)

    return crashing


def test_measuring_before_a_resumption_is_counted(phantoms, tiny_settings, tmp_path):
    config = make_config(tiny_settings | UNEVEN)
    with pytest.raises(Crash):
        in_gan_folder(config, phantoms, crash_at(2), tmp_path)
    state = load_checkpoint(tmp_path, "cpu")
    assert state["evaluation_seconds"] > 0
    delete_checkpoints(tmp_path)
    save_checkpoint(tmp_path, state["epoch"], state | {"evaluation_seconds": 1000.0})
    assert in_gan_folder(config, phantoms, lambda entry: None, tmp_path)["evaluation_seconds"] > 1000


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("training", TRAININGS, indirect=True)
def test_continued_after_a_report(training, number):
    def interrupt(train, folder):
        with pytest.raises(Crash):
            train(crash_at(number))

    training(interrupt)


@pytest.mark.parametrize(("training", "number"), [
    *(("gan", epoch) for epoch in (1, 2, 3, 4, 5)), *(("classifier", epoch) for epoch in (1, 3)),
], indirect=["training"])  # fmt: skip
def test_continued_after_a_crash_within_an_epoch(training, request, monkeypatch, number):
    *_, module, name = TRAININGS[request.node.callspec.params["training"]]

    def interrupt(train, folder):
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(module, name, crash_at(number, getattr(module, name)))
            train(lambda entry: None)

    training(interrupt)


@pytest.mark.parametrize("how", ["flipped bit", "truncated"])
@pytest.mark.parametrize("training", TRAININGS, indirect=True)
def test_continued_from_the_previous_checkpoint_if_the_newest_is_damaged(training, how):
    def interrupt(train, folder):
        train(lambda entry: None)
        damage(newest(folder), how)

    with pytest.warns(UserWarning, match=r"checkpoint-.* is damaged"):
        training(interrupt)
