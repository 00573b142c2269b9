"""Checkpoints: whole or not there, and damage is found before loading."""

import warnings

import pytest
import torch

from study.storage.checkpoint import delete_checkpoints, save_checkpoint
from study.training.workers import load_checkpoint
from tests.support.damage import damage, newest


def state(epoch: int) -> dict:
    return {"epoch": epoch, "weights": torch.arange(64.0) + epoch, "history": [{"stage": "gan", "loss": 0.5}]}



def test_the_newest_is_read_and_two_are_kept(tmp_path):
    assert load_checkpoint(tmp_path / "missing", "cpu") is None
    for epoch in (1, 9, 10, 100):
        save_checkpoint(tmp_path, epoch, state(epoch))
        loaded = load_checkpoint(tmp_path, "cpu")
        assert torch.equal(loaded.pop("weights"), state(epoch)["weights"])
        assert loaded == {"epoch": epoch, "history": [{"stage": "gan", "loss": 0.5}]}
    assert len(list(tmp_path.iterdir())) == 2
    delete_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["flipped bit", "truncated"])
def test_a_damaged_checkpoint_is_named_and_set_aside(tmp_path, how):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, state(epoch))
    path = newest(tmp_path)
    damage(path, how)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1
    assert path.with_name(f"{path.name}.damaged").exists() and not path.exists()
    assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1  # without a warning: it is out of the way
    damage(newest(tmp_path), how)
    with pytest.warns(UserWarning, match="is damaged"):
        assert load_checkpoint(tmp_path, "cpu") is None


def test_a_half_written_file_is_not_taken_for_a_checkpoint(tmp_path, monkeypatch):
    """Killed before the rename, the file still has its temporary name."""
    save_checkpoint(tmp_path, 1, state(1))
    monkeypatch.setattr("os.replace", lambda source, target: pytest.exit("killed"))
    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: None)
    with pytest.raises(pytest.exit.Exception):
        save_checkpoint(tmp_path, 2, state(2))
    assert len(list(tmp_path.iterdir())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1
