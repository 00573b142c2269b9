"""`dfu-study COMMAND`: the same commands under one name."""

import sys
from pathlib import Path

import pytest

from study.__main__ import COMMANDS, main

CONSOLE = "/venv/bin/dfu-study"


@pytest.fixture(autouse=True)
def console(monkeypatch):
    monkeypatch.setattr(sys, "argv", [CONSOLE])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help_under_this_name(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith(f"usage: dfu-study {name} ")


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_its_own_help_has_a_line_for_each_command(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)


def test_an_unknown_command_is_named(capsys):
    assert main(["swep", "--trials", "3"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: unknown command 'swep'; there are: ") and "sweep" in message


def test_the_commands_exit_code_and_arguments_pass_through(tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no study here" in " ".join(capsys.readouterr().err.split())  # it is wrapped


def test_started_as_a_module_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/project/study/__main__.py", "audit", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith("usage: python -m study audit ")


def test_every_file_at_the_top_of_study_that_is_a_command_is_listed():
    files = {f"study.{path.stem}" for path in Path("study").glob("*.py") if "sys.exit(main())" in path.read_text()}
    assert files - {"study.__main__"} == {module for module, _ in COMMANDS.values() if module.startswith("study")}
