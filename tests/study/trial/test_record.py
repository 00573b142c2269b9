"""What a row tells of the command and the machine."""

import sys

import pytest

from study.trial.provenance import command_line, shareable_command


@pytest.mark.parametrize(
    ("typed", "shared"),
    [
        (["--data", "/clinic/jane doe", "--trials", "3"], "--data PATH --trials 3"),
        (["--data=/clinic/jane", "--out", "/home/jane/runs", "--resume"], "--data=PATH --out PATH --resume"),
        (["/home/jane/runs/a", "--seeds", "5"], "PATH --seeds 5"),
        (["--group-pattern=(jane|joe)_", "--set", "a=b/c"], "--group-pattern=PATH --set a=b/c"),
        (["--group-pattern", "(jane|joe)_", "--split", "random"], "--group-pattern PATH --split random"),
        (["--inception-weights", "w.pth", "--set", "lstm_depth=2"], "--inception-weights PATH --set lstm_depth=2"),
    ],
)
def test_rows_hold_no_folder(monkeypatch, typed, shared):
    monkeypatch.setattr(sys, "argv", ["/somewhere/study/run_sweep.py", *typed])
    assert shareable_command() == f"python study/run_sweep.py {shared}"
    assert "clinic" not in shareable_command() and "jane" not in shareable_command()


@pytest.mark.parametrize("program", ["dfu-study sweep", "python -m study sweep"])
def test_rows_hold_no_folder_of_the_console_command(monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [program, "--data", "/clinic/jane doe", "--trials", "3"])
    assert shareable_command() == f"{program} --data PATH --trials 3"


def test_the_command_to_type_again_is_quoted(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study/run_sweep.py", "--positive", "not infected"])
    assert command_line() == "python study/run_sweep.py --positive 'not infected'"
