"""A search on disk: its proposals, the rows of its trials, and Optuna's file, which is made from these two.

Each proposal is a sealed file in `<study>/proposals/`, written before its trial starts. Nothing is read back from
`<study>/optuna.db`, whose pages carry no checksum: each start of a command writes it anew.
"""

import math
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL

from results.tables.attempts import runs_again
from study.errors import Damaged
from study.search.pictures import Pictures
from study.storage.sealed import read_json, set_aside, write_json

Objectives = tuple[tuple[str, str], ...]  # (column, direction) of each
BESIDE_SQLITE = ("", "-journal", "-wal", "-shm")  # what SQLite appends to the name of its file


def write_proposal(folder: Path, number: int, attributes: dict, parameters: dict, space: dict) -> dict:
    """Write down what a trial of the search is; returns the record as `read_proposals` does.

    `space`: the distribution of each parameter.
    """
    domains = {name: distribution_to_json(space[name]) for name in parameters}
    record = {"number": number, "attributes": attributes, "parameters": parameters, "distributions": domains}
    write_json(proposal_file(folder, number), record)
    return record


def proposal_file(folder: Path, number: int) -> Path:
    return folder / "proposals" / f"{number:05d}.json"


def trial_id(record: dict) -> str:
    return f"{record['attributes']['phase']}-{record['number']:03d}"


def read_proposals(
    folder: Path, rows: dict[str, dict], paper: list[dict], space_of: Callable[[dict], dict[str, BaseDistribution]]
) -> tuple[list[dict | None], list[str]]:
    """The record of each proposal, by number, and a line for each damaged file, which is set aside.

    The record of a damaged or missing file is made again from the trial's row (`rows`, by trial id), or from the
    paper's configuration of that number; `space_of` gives the parameters of a trial with such columns. Where there is
    neither, nobody knows the trial any more: its record is None, and its number is not used again, for a checkpoint of
    the trial may lie under its name.
    """
    files = (folder / "proposals").glob("[0-9]*.json*")  # with those that were set aside
    ended = {int(name.rpartition("-")[2]): row for name, row in rows.items() if row["phase"] in ("paper", "search")}
    records, lines = [], []
    for number in range(1 + max([*ended, *(int(path.name.partition(".")[0]) for path in files)], default=-1)):
        path = proposal_file(folder, number)
        try:
            record = read_json(path)
        except (Damaged, FileNotFoundError):
            row = ended.get(number)
            known = row or (paper[number] | {"phase": "paper"} if number < len(paper) else None)
            if path.exists():
                lines.append(set_aside(path, "it is written again" if known else "another trial takes its place"))
            record = known and written_again(folder, number, known, space_of(known))
        records.append(record)
    return records, lines


def written_again(folder: Path, number: int, known: dict, space: dict[str, BaseDistribution]) -> dict:
    """The proposal of a trial whose `known` columns hold its phase and parameters."""
    attributes = {"phase": known["phase"], "stoppable": False}
    # A row's whole numbers come back as floats where some rows have none.
    parameters = {name: domain.to_external_repr(domain.to_internal_repr(known[name])) for name, domain in space.items()}
    return write_proposal(folder, number, attributes, parameters, space)


def write_optuna(folder: Path, objectives: Objectives, trials: list[FrozenTrial]) -> tuple[optuna.Study, RDBStorage]:
    """Replace `<folder>/optuna.db` by one that holds these trials; returns its study, to go on with, and its storage.

    Readers see the old file or the new one, never a part.
    """
    path, temporary = folder / "optuna.db", folder / ".tmp-optuna.db"
    for suffix in BESIDE_SQLITE:
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    storage = open_storage(temporary)
    directions = [direction for _, direction in objectives]
    optuna.create_study(storage=storage, study_name=folder.name, directions=directions).add_trials(trials)
    storage.remove_session()
    storage.engine.dispose()
    for suffix in BESIDE_SQLITE[1:]:  # SQLite would apply what the old file left behind to the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(temporary, path)
    storage = open_storage(path)  # the study's sampler is never asked: the search chooses every value
    return optuna.load_study(study_name=folder.name, storage=storage), storage


def open_storage(path: Path) -> RDBStorage:
    """Optuna's storage in a file, whose path may hold any character."""
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return RDBStorage(url.replace("{", "{{").replace("}", "}}"))  # Optuna formats it


def optuna_trial(record: dict | None, row: dict | None, objectives: Objectives, pictures: Pictures) -> FrozenTrial:
    """A proposal as Optuna knows it: running until its trial has a row; failed where the proposal is lost."""
    if record is None:
        return create_trial(state=TrialState.FAIL)
    attributes = {}
    if row is None or runs_again(row.get("reason")):
        state, values = TrialState.RUNNING, None
    else:
        state, values = end_of(row["status"], row, objectives)
        attributes = pictures.attributes(row)
    space = {name: json_to_distribution(domain) for name, domain in record["distributions"].items()}
    trial = create_trial(
        state=state,
        values=values,
        params=record["parameters"],
        distributions=space,
        user_attrs=record["attributes"],
        system_attrs=attributes,
    )
    if trial.state.is_finished() and row.get("started_at"):  # for the dashboard's timeline
        trial.datetime_start = datetime.fromisoformat(row["started_at"]).astimezone().replace(tzinfo=None)
        seconds = row.get("seconds", row.get("gan_seconds", 0.0))
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    return trial


def end_of(status: str, result: dict, objectives: Objectives) -> tuple[TrialState, list[float] | None]:
    """What Optuna is told of a trial that ended: its state, and its values where it is complete."""
    values = [result.get(column) for column, _ in objectives]
    measured = all(value is not None and math.isfinite(value) for value in values)
    if status == "completed" and measured:
        return TrialState.COMPLETE, values
    return TrialState.PRUNED if status == "pruned" else TrialState.FAIL, None
