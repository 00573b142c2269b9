"""An ended trial as loggers get it, read from the study's tables."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from results.tables.schema import HISTORY
from results.tables.store import read_part
from study.config import TrialConfig
from study.gan.folder import GanFolder


@dataclass(frozen=True)
class EndedTrial:
    """What a logger gets of a trial: `settings`, `metrics` and `notes` (text) of its row, without what is null.

    `history` holds each report: stage, epoch, seconds so far, and its numbers by name. `samples` is the picture of its
    GAN's synthetic images, where there is one.
    """

    study: str
    trial_id: str
    status: str
    started: float  # seconds since 1970
    settings: dict
    metrics: dict[str, float]
    notes: dict[str, str]
    history: list[tuple[str, int, float, dict[str, float]]]
    samples: Path | None


def read_ended(folder: Path, row: dict) -> EndedTrial:
    """The trial of a row of TRIALS, its history and its picture read from the study's folder."""
    known = {name: value for name, value in row.items() if value is not None}
    rest = {name: value for name, value in known.items() if name not in TrialConfig.model_fields}
    samples = GanFolder(folder / "gans" / known["gan_key"]).samples if "gan_key" in known else None
    return EndedTrial(
        study=folder.name,
        trial_id=known["trial_id"],
        status=known["status"],
        started=datetime.fromisoformat(known["started_at"]).timestamp() if "started_at" in known else time.time(),
        settings={name: known[name] for name in TrialConfig.model_fields if name in known},
        metrics={name: float(value) for name, value in rest.items() if is_number(value)},
        notes={name: str(value) for name, value in rest.items() if not is_number(value)},
        history=read_reports(folder / "history" / f"{known['trial_id']}.parquet"),
        samples=samples if samples and samples.exists() else None,
    )


def read_reports(path: Path) -> list[tuple[str, int, float, dict[str, float]]]:
    """Stage, epoch, seconds and numbers of each report of a trial's part of HISTORY."""
    reports = []
    for row in read_part(path, HISTORY).to_pylist() if path.exists() else ():
        stage, epoch, seconds = row.pop("stage"), row.pop("epoch"), row.pop("seconds")
        reports.append((stage, epoch, seconds or 0.0, {name: row[name] for name in row if is_number(row[name])}))
    return reports


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
