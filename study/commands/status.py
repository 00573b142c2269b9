"""The work of `study/run_sweep.py status`: how far a study is that runs elsewhere, or has run. Imports no Ray."""

import time
from argparse import Namespace
from datetime import datetime
from pathlib import Path

from results.text import wrap
from study.errors import refuse_no_study
from study.progress.display import EVERY_S, Display, left, stage_words
from study.progress.standing import Part, standing
from study.storage.lock import command_at_work


def run(options: Namespace) -> int:
    """Print how far the study is; with `--watch` until no command works on it."""
    study, display = options.study.expanduser(), Display()
    refuse_no_study(study, "study.json")
    shown = None
    try:
        while True:
            holder = command_at_work(study)
            parts = standing(study, datetime.fromisoformat(holder["since"]) if holder else None)
            watching = options.watch and holder
            if watching and display.in_terminal:
                display.study(parts)
            elif (news := what_is_new(parts)) != shown or not watching:
                shown = news
                display.close()
                display.line("\n".join(map(wrap, description(study, holder, parts))))
            if not watching:
                return 0
            time.sleep(EVERY_S)
    finally:
        display.close()


def description(study: Path, holder: dict, parts: list[Part]) -> list[str]:
    """The lines that say who works on a study and how far each of its parts is."""
    state = "process {pid} on {host} works on it since {since}".format(**holder) if holder else "no command is at work"
    lines = [f"{'study':<12} {study}", f"{'state':<12} {state}"]
    for part in parts:
        counts = ", ".join(f"{part.ended[status]} {status}" for status in ("completed", "pruned", "failed"))
        time_left = left(part.seconds_left) if part.left and holder else ""
        lines.append(f"{part.name:<12} {part.ended.total()} of {part.planned or '?'} trials: {counts}{time_left}")
        lines += [f"{'  running':<12} {one.trial_id}: {stage_words(one)}" for one in part.running]
    if not holder and any(part.left for part in parts):
        lines.append(f"{'to continue':<12} give its command again, a search's with --resume")
    return lines


def what_is_new(parts: list[Part]) -> list:
    """What of a study has changed when a watcher is to be told, which the time left alone is not."""
    at_work = [(one.trial_id, one.stage, one.epoch) for part in parts for one in part.running]
    return [*at_work, *((part.planned, part.ended) for part in parts)]
