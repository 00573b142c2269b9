"""The display in a terminal of 80 columns, in one of ASCII, and where standard output is none."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.progress.display import Display, part_words, running_words, words
from study.progress.standing import Part, Running

ROOT = Path(__file__).resolve().parents[3]
RUNNING = Running("paper-000", "gan", 15, 60, 210.13, 250.0)
PART = Part("search", 12, Counter(completed=3, pruned=1), (RUNNING, Running("paper-001")), 3600.0)
SHOW = """
import time, sys
from collections import Counter
from tests.study.progress.test_display import PART
from study.progress.display import Display
display = Display()
with display.counting(every_s=0.0) as show:
    show("photographs", 10, 40)
display.study([PART])
display("a line")
try:
    if "wait" in sys.argv:
        print("all is drawn", file=sys.stderr, flush=True); time.sleep(60)
finally:
    display.close()
"""


def in_terminal(*arguments: str, encoding: str = "utf-8") -> str:
    """What the display writes to a terminal of 80 columns; SIGINT ends it where it waits."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-c", SHOW, *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, cwd=ROOT) as process:
        os.close(theirs)
        if arguments:
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
        written = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                written += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    return written.decode(encoding)


def on_screen(written: str) -> list[str]:
    """The lines that a terminal of 80 columns is left with."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[A|\r|\n|.", written, re.DOTALL):
        if token == "\x1b[A":
            row -= 1
        elif token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            assert column < 80, "wider than the terminal"
            line = lines[row].ljust(column)
            lines[row], column = line[:column] + token + line[column + 1 :], column + 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bars_fit_80_columns_and_leave_the_lines_alone(encoding):
    written = in_terminal(encoding=encoding)
    for text in ("photographs  10 of 40, ~", "search       4 of 12 trials, ~60 min left", "paper-001    begins"):
        assert text in written
    assert "paper-000    GAN epoch 15 of 60, Frechet 210.1, ~4 min left" in written
    assert [line for line in on_screen(written) if line] == ["  0:00 a line"]


def test_an_interruption_leaves_the_terminal_clean():
    assert [line for line in on_screen(in_terminal("wait")) if line] == ["  0:00 a line"]


def test_the_time_left_is_that_of_what_is_counted(monkeypatch, capsys):
    clock = iter([0, 0, 100, 110])
    monkeypatch.setattr("study.progress.display.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with Display().counting() as show:
        show("photographs", 40, 40)
        show("compared", 10, 20)
    assert capsys.readouterr().out.splitlines() == [
        "photographs  40 of 40, ~0 s left", "compared     10 of 20, ~10 s left",
    ]  # fmt: skip


def test_plain_lines_where_the_output_is_no_terminal(capsys):
    display = Display()
    with display.counting(every_s=0.0) as show:
        show("photographs", 10, 40)
        show("photographs", 40, 40)
    with display.counting() as show:  # a line every five seconds at most
        show("features", 1, 1)
    display.study([PART])
    display("a trial")
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("photographs  10 of 40, ~") and second == "photographs  40 of 40, ~0 s left"
    assert third == "  0:00 a trial"


def test_words_of_what_is_not_known():
    assert running_words(Running("confirm-paper-000-real_and_synthetic_1", "classifier", 3, 12)) == (
        "confir~l_and_synthetic_1 classifier epoch 3 of 12"
    )
    assert part_words(Part("search", None, Counter(), (), None)) == "search       0 of ? trials"
    assert [words(seconds) for seconds in (5, 89, 91, 7200)] == ["5 s", "89 s", "2 min", "2.0 h"]


def test_a_gan_whose_time_decides_has_no_number_of_epochs_and_an_untrained_one_has_none():
    assert running_words(Running("r3gan", "gan", 15, None, 210.13)) == "r3gan        GAN epoch 15, Frechet 210.1"
    assert running_words(Running("system-000", "gan", 0, 0, 200.2)) == "system-000   GAN not trained, Frechet 200.2"


def test_lines_are_broken_at_80_columns_and_names_stay_whole(capsys):
    name = "benchmark-principal_gan-0.15min-real_and_synthetic_1-grouped-s1"
    Display()(f"[6/90] {name} completed  Frechet 204.0\n{' ' * 13}principal_gan ratio 1")
    assert capsys.readouterr().out.split("\n") == [
        f"  0:00 [6/90] {name}",
        f"{' ' * 13}completed  Frechet 204.0",
        f"{' ' * 13}principal_gan ratio 1",
        "",
    ]
