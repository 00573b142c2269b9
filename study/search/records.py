"""Optuna's file, held to what the study itself has written down.

SQLite keeps no checksum of its pages. So each proposal is also a sealed file in `<study>/proposals/`, written before
its trial starts, and each end is a row of the table trials: when a study goes on, Optuna's file must say the same, or
it is set aside and made again from these two.
"""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from study.errors import ConfigError, Damaged
from study.storage.sealed import read_json, set_aside, write_json

Objectives = tuple[tuple[str, str], ...]  # (column, direction) of each
BUSY = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
)  # fmt: skip  the disk's or another process's doing: the file may be whole


def open_optuna(folder: Path, objectives: Objectives, seed: int = 0) -> optuna.Study:
    """The Optuna study in `<folder>/optuna.db`, made where it is missing."""
    return optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.db'}",
        study_name=folder.name,
        directions=[direction for _, direction in objectives],
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )


def end_of(status: str, result: dict, objectives: Objectives) -> tuple[TrialState, list[float] | None]:
    """What Optuna is told of a trial that ended: its state, and its values where it is complete."""
    values = [result.get(column) for column, _ in objectives]
    measured = all(value is not None and math.isfinite(value) for value in values)
    if status == "completed" and measured:
        return TrialState.COMPLETE, values
    return TrialState.PRUNED if status == "pruned" else TrialState.FAIL, None


def trial_id(number: int, attributes: dict) -> str:
    return f"{attributes['phase']}-{number:03d}"


def record_proposal(folder: Path, trial: Trial | FrozenTrial) -> None:
    """Write down what a trial is, unless that is done already."""
    path = proposal_file(folder, trial.number)
    if not path.exists():
        domains = {name: distribution_to_json(domain) for name, domain in trial.distributions.items()}
        record = {"number": trial.number, "attributes": trial.user_attrs}
        write_json(path, record | {"parameters": trial.params, "distributions": domains})


def proposal_file(folder: Path, number: int) -> Path:
    return folder / "proposals" / f"{number:05d}.json"


def hold_to_records(folder: Path, rows: dict[str, dict], objectives: Objectives) -> list[str]:
    """Compare Optuna's file with the proposals and the rows (by trial id); returns a line for each thing mended.

    A file that differs is set aside and made again, with all trials running: those that have a row are to be told.
    A damaged proposal is written again from Optuna's file. Raises ConfigError where both are damaged.
    """
    path = folder / "optuna.db"
    records, damaged = read_proposals(folder)
    if not (path.exists() or records or damaged):
        return []  # a new study
    fault = database_fault(path) or difference(folder, records, rows, objectives)
    if fault and (damaged or not all_recorded(records, rows)):
        which = damaged[0] if damaged else folder / "proposals"
        raise ConfigError(f"{path} is damaged ({fault}), and {which} too; copy one of them back from a backup")
    lines = [set_aside(file, f"it is written again from {path.name}") for file in damaged]
    if not fault:
        for trial in open_optuna(folder, objectives).get_trials(deepcopy=False):
            if trial.state.is_finished() or proposal_file(folder, trial.number) in damaged:
                record_proposal(folder, trial)
        return lines
    for suffix in ("-journal", "-wal", "-shm"):  # of the damaged file; SQLite would apply them to the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if path.exists():
        path.replace(path.with_name("optuna.db.damaged"))
    lines.append(f"{path} is not as the study's records say ({fault}); it is made again from them")
    rebuild(open_optuna(folder, objectives), records)
    return lines


def read_proposals(folder: Path) -> tuple[dict[int, dict], list[Path]]:
    """The proposals by number, and the files that are damaged."""
    records, damaged = {}, []
    for path in sorted((folder / "proposals").glob("[0-9]*.json")):
        try:
            record = read_json(path)
            records[record["number"]] = record
        except Damaged:
            damaged.append(path)
    return records, damaged


def all_recorded(records: dict[int, dict], rows: dict[str, dict]) -> bool:
    """Whether every number, and every trial of the search that has a row, has its proposal."""
    known = {trial_id(number, record["attributes"]) for number, record in records.items()}
    ended = {name for name, row in rows.items() if row["phase"] in ("paper", "search")}
    return sorted(records) == list(range(len(records))) and ended <= known


def database_fault(path: Path) -> str | None:
    """What SQLite finds wrong with its file, if anything. Raises ConfigError where it cannot look."""
    if not path.exists():
        return "there is none"
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        refuse_if_busy(path, error)
        return str(error)
    return None if found == "ok" else found.splitlines()[-1]


def difference(folder: Path, records: dict[int, dict], rows: dict[str, dict], objectives: Objectives) -> str | None:
    """The first thing that Optuna's file says otherwise than the study's own records."""
    try:
        study = open_optuna(folder, objectives)
        trials = study.get_trials(deepcopy=False)
        directions = [direction.name.lower() for direction in study.directions]
    except Exception as error:  # Optuna meets damage in many ways
        refuse_if_busy(folder / "optuna.db", getattr(error, "orig", error))
        return f"Optuna cannot read it: {type(error).__name__}"
    if directions != [direction for _, direction in objectives]:
        return "its objectives are others"
    if len(trials) <= max(records, default=-1):
        return f"it has {len(trials)} trials"
    for trial in trials:
        if fault := trial_fault(trial, records.get(trial.number), rows, objectives):
            return f"its trial {trial.number} {fault}"
    return None


def trial_fault(trial: FrozenTrial, record: dict | None, rows: dict[str, dict], objectives: Objectives) -> str | None:
    if record is not None:
        domains = {name: json_to_distribution(domain) for name, domain in record["distributions"].items()}
        said = trial.params, trial.distributions, trial.user_attrs
        if said != (record["parameters"], domains, record["attributes"]):
            return "is another than was proposed"
    if not trial.state.is_finished():
        return None  # one that has a row is told of it next
    row = rows.get(trial_id(trial.number, trial.user_attrs))
    if row is None:
        return "has ended, but has no row"
    return None if (trial.state, trial.values) == end_of(row["status"], row, objectives) else "ended otherwise"


def refuse_if_busy(path: Path, error: Exception) -> None:
    """ConfigError where a file could not be read for another reason than its content."""
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY:
        raise ConfigError(f"{path} cannot be opened now ({error}); end what uses it, or make room, and try again")


def rebuild(study: optuna.Study, records: dict[int, dict]) -> None:
    """Put the proposals into an empty Optuna study, in their order, as running trials."""
    for _, record in sorted(records.items()):
        domains = {name: json_to_distribution(domain) for name, domain in record["distributions"].items()}
        attributes, parameters = record["attributes"], record["parameters"]
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=parameters, distributions=domains, user_attrs=attributes
            )
        )
