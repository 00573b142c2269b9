"""Export of a study's ended trials to the loggers of `--log`, made from the study's tables.

Each ended trial is exported once: an empty file `<study>/logged/<logger>/<trial_id>` says so. A thread of its own does
it, so that a slow server delays no trial; an error ends the export, not the study.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from results.tables.attempts import runs_again
from results.tables.schema import TRIALS
from results.tables.store import read_part
from study.loggers.ended import read_ended
from study.loggers.targets import LOGGERS

EVERY_S = 5.0
LAST_EXPORT_S = 120.0  # how long the end of a command waits for the export


@contextmanager
def exporting(folder: Path, names: list[str], announce: Callable[[str], None]) -> Iterator[None]:
    """Export the study's ended trials to the loggers while the block runs, and at its end what is left."""
    if not names:
        yield
        return
    ended = Event()
    thread = Thread(target=export_until, args=(folder, names, announce, ended), daemon=True, name="export of trials")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_EXPORT_S)
        if thread.is_alive():
            announce(f"--log: the export takes too long; the next command with --log {' --log '.join(names)} goes on")


def export_until(folder: Path, names: list[str], announce: Callable[[str], None], ended: Event) -> None:
    while names:
        is_last = ended.is_set()  # asked before the tables are read, so that no row is missed
        names = [name for name in names if export_new(folder, name, announce)]
        if is_last:
            return
        ended.wait(EVERY_S)


def export_new(folder: Path, name: str, announce: Callable[[str], None]) -> bool:
    """Export the ended trials that a logger lacks; returns whether it worked. Whatever fails is a line."""
    try:
        for path in sorted((folder / "trials").glob("*.parquet")):
            mark = folder / "logged" / name / path.stem
            if mark.exists() or runs_again((row := read_part(path, TRIALS).to_pylist()[0])["reason"]):
                continue
            LOGGERS[name](folder, read_ended(folder, row))
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    except Exception as error:  # a server that is down, a full disk: no reason to lose a study
        reason = str(error).partition("\n")[0]
        announce(f"WARNING --log {name}: {type(error).__name__}: {reason}; the study goes on, the export has ended; "
                 f"the next command with --log {name} exports the rest")  # fmt: skip
        return False
    return True
