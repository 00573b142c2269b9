"""How commands print: through a pipe whose reader has gone, to a terminal that is not UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_utils.errors import DataError
from study.flags.cli import run_command

ROOT = Path(__file__).resolve().parents[2]
LINES = (
    "from study.progress.display import Display; say = Display(); [say('é' * 200) for _ in range(2000)]; "
    "open({path!r}, 'w')"
)
COMMAND = (
    "import sys, study.flags.cli as cli; cli.importlib.import_module = lambda name: cli; {run}; "
    "sys.exit(cli.run_command('audit', ['S']))"
)


def test_a_study_goes_on_when_nobody_reads_its_progress(tmp_path):
    code = LINES.format(path=str(tmp_path / "ended"))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.wait(60) == 0 and (tmp_path / "ended").exists()


def test_a_long_error_is_wrapped_and_its_list_stays_a_list(capsys, monkeypatch):
    """Paths and commands are not broken: they are to be copied."""
    path = "/" + "a" * 100
    files = ["  one.jpg: empty", f"  {'two ' * 20}.jpg: a long reason"]
    error = DataError("\n".join([f"25 files cannot be used; {'take them out ' * 8}of {path}:", *files]))
    monkeypatch.setattr("study.commands.audit.run", lambda options: (_ for _ in ()).throw(error))
    assert run_command("audit", ["S"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: 25 files") and all(line.startswith("  ") for line in lines[1:])
    assert [line for line in lines if len(line) > 80] == [f"  {path}:"]
    assert "  one.jpg: empty" in lines and "    " + lines[-1].strip() == lines[-1]
    assert " ".join(" ".join(lines).split()) == " ".join(f"error: {error}".split())


@pytest.mark.parametrize(
    ("run", "code", "printed"),
    [
        ("cli.run = lambda options: print('\\u00e9\\u2713') or 0", 0, b"\\xe9\\u2713\n"),
        ("cli.run = lambda options: (_ for _ in ()).throw(BrokenPipeError())", 141, b""),
    ],
    ids=["a terminal of ASCII", "a pipe that closes"],
)
def test_what_cannot_be_printed_is_no_traceback(run, code, printed):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", COMMAND.format(run=run)]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (code, printed, b"")


@pytest.mark.parametrize(
    "code",
    [
        COMMAND.format(run="cli.run = lambda options: print('a line', flush=True)"),
        COMMAND.format(run="cli.run = lambda options: print('a line')"),
        "import sys, results.leaderboard as board; sys.exit(board.exit_code(lambda: print('a line')))",
        "import sys, study.bundle.command as bundle; sys.exit(bundle.run_with_bundle(lambda: print('a line')))",
    ],
    ids=["at once", "at its end", "a command of results", "a command of a bundle"],
)
def test_a_command_whose_reader_has_gone_ends_without_a_traceback(code):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}  # so that Python prints what is left as it ends
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
