"""How commands print: through a pipe whose reader has gone, to a terminal that is not UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES = "from study.cli import Announcer; say = Announcer(); [say('é' * 200) for _ in range(2000)]; open({path!r}, 'w')"
COMMAND = (
    "import sys, study.cli as cli; cli.importlib.import_module = lambda name: cli; {run}; "
    "sys.exit(cli.run_command('audit', ['S']))"
)


def test_a_study_goes_on_when_nobody_reads_its_progress(tmp_path):
    code = LINES.format(path=str(tmp_path / "ended"))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.wait(60) == 0 and (tmp_path / "ended").exists()


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
