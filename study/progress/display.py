"""The one display of long work: bars in a terminal, plain lines where standard output is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from results.text import leave_standard_output, printable, wrap_lines
from study.progress.standing import Part, Running

EVERY_S = 5.0  # from one plain line of a count to the next
DETAILS = 13  # spaces before what continues a line
NAME = 24  # characters of a trial's name in front of a bar
BAR = "{desc:<58} |{bar}|"


class Display:
    """Prints lines with the time since the start, and below them, in a terminal, a bar for each thing at work."""

    def __init__(self):
        self.started, self.in_terminal = time.monotonic(), sys.stdout.isatty()
        self.bars: dict[str, tqdm] = {}

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        self.line(wrap_lines(f"{minutes:3d}:{seconds:02d} {text}", DETAILS))

    def line(self, text: str) -> None:
        """Print a line above the bars."""
        try:
            with tqdm.external_write_mode(sys.stdout):
                print(text, flush=True)
        except BrokenPipeError:  # nobody reads any more; the study goes on
            leave_standard_output()

    @contextmanager
    def counting(self, every_s: float = EVERY_S) -> Iterator[Callable[[str, int, int], None]]:
        """Yields a function that shows how many of how many of something are done, with the time left; one by one."""
        started = said = now = time.monotonic()
        shown = ""

        def show(name: str, done: int, total: int) -> None:
            nonlocal started, said, now, shown
            if name != shown:
                shown, started = name, now
            now = time.monotonic()
            text = f"{name:<12} {done} of {total}{left((now - started) / max(done, 1) * (total - done))}"
            if self.in_terminal:
                self._draw({name: (text, done, total)})
            elif now - said >= every_s:
                said = now
                self.line(text)

        try:
            yield show
        finally:
            self.close()

    def study(self, parts: list[Part]) -> None:
        """In a terminal, a bar for each part of a study that has trials left, and one for each trial that runs."""
        if not self.in_terminal:
            return
        at_work = [part for part in parts if part.running] or [part for part in parts if part.left]
        drawn = {part.name: (part_words(part), part.ended.total(), part.planned or 0) for part in at_work}
        for one in (one for part in at_work for one in part.running):
            drawn[one.trial_id] = (running_words(one), one.epoch, one.epochs or 0)
        self._draw(drawn)

    def _draw(self, drawn: dict[str, tuple[str, int, int]]) -> None:
        """Make, change and remove bars, so that there are these: name -> (words, done, total)."""
        for name in self.bars.keys() - drawn.keys():
            self.bars.pop(name).close()
        for name, (text, done, total) in drawn.items():
            if name not in self.bars:
                self.bars[name] = tqdm(desc=text, bar_format=BAR, leave=False, dynamic_ncols=True, file=sys.stdout)
            bar = self.bars[name]
            bar.total, bar.n = total or None, min(done, total or done)
            bar.set_description_str(printable(text))

    def close(self) -> None:
        """Remove the bars."""
        self._draw({})


def part_words(part: Part) -> str:
    """`search       3 of 9 trials, ~4 min left`"""
    return f"{part.name:<12} {part.ended.total()} of {part.planned or '?'} trials{left(part.seconds_left)}"


def running_words(one: Running) -> str:
    """`paper-000  GAN epoch 15 of 60, Frechet 210.1, ~4 min left`"""
    name = one.trial_id if len(one.trial_id) <= NAME else f"{one.trial_id[:6]}~{one.trial_id[7 - NAME :]}"
    return f"{name:<12} {stage_words(one)}"


def stage_words(one: Running) -> str:
    if one.stage is None:
        return "begins"
    stage = "GAN" if one.stage == "gan" else one.stage
    distance = "" if one.distance is None else f", Frechet {one.distance:.1f}"
    if one.epochs == 0:
        return f"{stage} not trained{distance}"
    of = "" if one.epochs is None else f" of {one.epochs}"
    return f"{stage} epoch {one.epoch}{of}{distance}{left(one.seconds_left)}"


def words(seconds: float) -> str:
    """A time in its usual unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def left(seconds: float | None) -> str:
    """`, ~4 min left`; empty where nothing is known."""
    return "" if seconds is None else f", ~{words(seconds)} left"
