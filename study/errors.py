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


def refuse_no_study(
    folder: Path, part: str = "trials", way_out: str = "give a folder such as runs/sample-smoke"
) -> None:
    """ConfigError if `folder` is not the folder of a study, that is, lacks `part`."""
    if not (folder / part).exists():
        raise ConfigError(f"{folder} is not a study: it has no {part}; {way_out}")
