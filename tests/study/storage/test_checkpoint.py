"""Checkpoints: whole or not there, damage found before loading, nothing executed."""

import hashlib
import os
import pickle
import warnings

import pytest
import torch

from study.storage.atomic import write_atomically
from study.storage.checkpoint import delete_checkpoints, save_checkpoint
from study.training.workers import load_checkpoint
from tests.support.damage import damage, newest


def state(epoch: int) -> dict:
    return {"epoch": epoch, "weights": torch.arange(64.0) + epoch, "history": [{"stage": "gan", "loss": 0.5}]}



def test_the_newest_comes_back_and_two_are_kept(tmp_path):
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
def test_a_damaged_one_is_named_and_set_aside(tmp_path, how):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, state(epoch))
    path = newest(tmp_path)
    damage(path, how)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1
    assert path.with_name(f"{path.name}.damaged").exists() and not path.exists()
    assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1  # silent: the damaged one is out of the way
    damage(newest(tmp_path), how)
    with pytest.warns(UserWarning, match="is damaged"):
        assert load_checkpoint(tmp_path, "cpu") is None


def test_every_flipped_bit_is_found(tmp_path):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, state(epoch))
    path = newest(tmp_path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged"):
            assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_and_not_executed(tmp_path, zipped):
    """Its checksum is right: an attacker knows how to write one."""
    made, path = tmp_path / "executed", tmp_path / "bomb"
    torch.save({"epoch": 9, "model": Bomb(made)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.rename(tmp_path / f"checkpoint-000009-{hashlib.sha256(content).hexdigest()[:32]}.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path, "cpu")
    assert not made.exists()


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_atomically(path, b"old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_crash_in_mid_write_is_not_taken_for_a_checkpoint(tmp_path, monkeypatch):
    """Killed before the rename: what lies there is under another name."""
    save_checkpoint(tmp_path, 1, state(1))
    monkeypatch.setattr("os.replace", lambda source, target: pytest.exit("killed"))
    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: None)
    with pytest.raises(pytest.exit.Exception):
        save_checkpoint(tmp_path, 2, state(2))
    assert len(list(tmp_path.iterdir())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(tmp_path, "cpu")["epoch"] == 1
