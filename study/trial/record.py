"""What is written down of a trial: its row, history and predictions; and the config and data behind a row."""

from dataclasses import dataclass
from os.path import abspath
from pathlib import Path

from results.tables.attempts import lost_attempts, lost_reason
from results.tables.schema import HISTORY, PREDICTIONS, SCHEMA_VERSION, TRIALS
from results.tables.store import read_part, write_rows
from study.config import TrialConfig, make_config
from study.errors import ConfigError, Damaged
from study.storage.sealed import read_json, write_json

STAGES = "epochs"  # what a trial notes at its start: the epochs of each stage
INTEGERS = {field.name for field in TRIALS if str(field.type) == "int64"}  # read back as floats where one is empty


@dataclass(frozen=True)
class Task:
    """A trial as the machine that runs it gets it."""

    study: Path
    prepared: Path
    trial_id: str
    config: TrialConfig
    num_workers: int
    num_threads: int
    columns: dict  # of identity, data and command, which do not depend on how the trial ends
    corrupted_tests: bool = False
    external: Path | None = None  # another prepared file, used whole as a test set
    proposed_at: float | None = None  # seconds since 1970, of the first of a worker's tasks

    @property
    def gans(self) -> Path:
        return self.study / "gans"

    @property
    def checkpoints(self) -> Path:
        return self.study / "checkpoints" / self.trial_id

    def write_row(self, status: str, reason: str | None, result: dict) -> None:
        """Write the trial's row: one atomic file, replacing an earlier one of the same trial."""
        known = {"study": self.study.name, "trial_id": self.trial_id, "status": status, "reason": reason}
        known |= {"num_workers": self.num_workers, "num_threads": self.num_threads, "schema_version": SCHEMA_VERSION}
        known |= {"arm": self.config.arm}
        known |= {"classifier": self.config.classifier, "classifier_key": self.config.classifier_key}
        known["system"] = self.config.system if self.config.uses_gan else None
        row = dict.fromkeys(TRIALS.names) | self.config.model_dump() | self.columns | result | known
        write_rows(self.study / "trials" / f"{self.trial_id}.parquet", [row], TRIALS)

    def read_row(self) -> dict | None:
        """The trial's row, null columns left out, or None while it has not ended, or was lost to a machine."""
        row = self._stored_row()
        if row is None or lost_attempts(row["reason"]):
            return None
        return {name: value for name, value in row.items() if value is not None or name == "reason"}

    def lost_reason(self, error: str) -> str:
        """The reason to write down when a machine's fault, told by `error`, has ended the trial."""
        return lost_reason(error, (self._stored_row() or {}).get("reason"))

    def note_start(self, columns: dict) -> None:
        """Keep the columns that are known when the trial starts, for a row that its worker does not live to write, and
        the epochs of each stage, for whoever looks how far it is."""
        epochs = {"gan": self.config.known_epochs, "classifier": self.config.classifier_epochs}
        write_json(started_file(self.checkpoints), columns | {STAGES: epochs})

    def start_columns(self) -> dict:
        """What `note_start` kept; nothing where the trial did not start, or where the file is damaged."""
        try:
            columns = read_json(started_file(self.checkpoints))
        except (FileNotFoundError, Damaged):
            return {}
        return {name: value for name, value in columns.items() if name != STAGES}

    def _stored_row(self) -> dict | None:
        path = self.study / "trials" / f"{self.trial_id}.parquet"
        return read_part(path, TRIALS).to_pylist()[0] if path.exists() else None

    def write_history(self, entries: list[dict]) -> None:
        """Write the history: one row for each report so far."""
        rows = [{"study": self.study.name, "trial_id": self.trial_id, **entry} for entry in entries]
        write_rows(self.study / "history" / f"{self.trial_id}.parquet", rows, HISTORY)

    def write_predictions(self, predictions: list[dict]) -> None:
        """Write the predictions: one row for each image and condition."""
        of_trial = {"study": self.study.name, "trial_id": self.trial_id, "arm": self.config.arm}
        of_trial["seed"] = self.config.seed
        rows = [of_trial | prediction for prediction in predictions]
        write_rows(self.study / "predictions" / f"{self.trial_id}.parquet", rows, PREDICTIONS)


def started_file(checkpoints: Path) -> Path:
    """What `Task.note_start` writes, in a trial's own folder of checkpoints."""
    return checkpoints / "started.json"


def row_config(row: dict) -> TrialConfig:
    """The config that a row was made with."""
    values = {name: row[name] for name in TrialConfig.model_fields}
    return make_config({name: int(value) if name in INTEGERS else value for name, value in values.items()})


def prepared_file(study: Path, fingerprint: str) -> Path:
    """The prepared data of the study in the folder `study`; ConfigError where the file is missing."""
    path = Path(abspath(study)).parent / "prepared" / f"{fingerprint}.parquet"
    if not path.exists():
        raise ConfigError(f"the prepared data {path} is missing; prepare it again with the command of the study")
    return path
