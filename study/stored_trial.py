"""What a trial's row leads back to: its config and its prepared data."""

from pathlib import Path

from results.schema import TRIALS
from study.config import ConfigError, TrialConfig, make_config

INTEGERS = {field.name for field in TRIALS if str(field.type) == "int64"}


def row_config(row: dict) -> TrialConfig:
    """The config that a row was made with."""
    values = {name: row[name] for name in TrialConfig.model_fields}
    return make_config({name: int(value) if name in INTEGERS else value for name, value in values.items()})


def prepared_file(study: Path, fingerprint: str) -> Path:
    """The prepared data of a study in the folder `study`; ConfigError where it is not there."""
    path = study.absolute().parent / "prepared" / f"{fingerprint}.parquet"
    if not path.exists():
        raise ConfigError(f"the prepared data {path} is missing; prepare it again with the command of the study")
    return path
