"""The errors that a command reports in a line, and those that end a trial."""

from pathlib import Path


class ConfigError(ValueError):
    """A setting the user gave cannot be used; the message names the field and the way out."""


class Damaged(ConfigError):
    """A file does not hold what was written to it; `path` is the file."""

    def __init__(self, path: Path):
        super().__init__(f"{path} is damaged: its checksum differs")
        self.path = path


class StorageFault(ConfigError):
    """The study cannot go on until its disk is mended; the message says how."""


class Diverged(RuntimeError):
    """Training has failed in a way that more training does not mend; the message is the trial's reason."""


class Unheard(RuntimeError):
    """The launcher no longer receives a worker's reports: the trial is to go on elsewhere."""


class Withdrawn(RuntimeError):
    """The launcher has stopped the trial: its worker leaves it without a row."""


def refuse_no_study(folder: Path, part: str = "trials", way_out: str | None = None) -> None:
    """ConfigError if `folder` is not the folder of a study, that is, lacks `part`; it names those that are near."""
    if (folder / part).exists():
        return
    lacks = f"it has no {part}" if folder.exists() else "there is no such folder"
    near = sorted(str(file.parent) for place in (folder, folder.parent) for file in place.glob("*/study.json"))
    known = f"studies near it: {', '.join(near)}" if near else "study/run_sweep.py makes studies, by default in runs/"
    raise ConfigError(f"{folder} is not a study: {lacks}; {way_out or known}")
