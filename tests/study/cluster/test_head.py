"""A command does not outlive its Ray for long, and says what to do."""

import socket

import pytest

from study.cluster import head as head_watch


class Left(BaseException):
    pass


@pytest.fixture
def head(monkeypatch):
    """Something that listens, and patience counted in tenths of a second."""
    monkeypatch.setattr(head_watch, "SILENCE_S", {"at work": 0.3, "interrupted": 0.1})

    def leave(code):
        raise Left(code)

    monkeypatch.setattr("os._exit", leave)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(("interrupts", "code"), [([], 1), ([15], 130)])
def test_leaves_once_the_head_is_gone(head, monkeypatch, capsys, interrupts, code):
    answered, sleep = [], head_watch.time.sleep

    def close_after_three(seconds):
        answered.append(head_watch.answers(address))
        if len(answered) == 3:
            head.close()
        sleep(0.01)

    address = f"127.0.0.1:{head.getsockname()[1]}"
    monkeypatch.setattr("time.sleep", close_after_three)
    with pytest.raises(Left, match=str(code)):
        head_watch.watch(address, interrupts, lambda: True, lambda: None)
    assert answered[:3] == [True] * 3
    assert "--resume" in " ".join(capsys.readouterr().err.split())


def test_a_process_that_has_left_its_ray_goes_on(head):
    address = f"127.0.0.1:{head.getsockname()[1]}"
    head.close()
    head_watch.watch(address, [], lambda: False, lambda: None)
