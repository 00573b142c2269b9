"""Proposals and rows are the record of a search; Optuna's file is made from them at each start, damaged or not."""

import random
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Engine, event

from study.search.records import open_storage
from tests.support.damage import damages
from tests.support.trainings import new_search


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Nothing waits for the disk: these tests are about content, and make many small files."""
    def unsynchronised(connection, record):
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", unsynchronised)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield
    event.remove(Engine, "connect", unsynchronised)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(the folder, the rows by trial id) of a search of eleven trials, four of which run."""
    folder, rows, lots = tmp_path_factory.mktemp("original") / "study-a", {}, random.Random(0)
    folder.mkdir()
    search = new_search(folder, ended=["baseline-000"])
    asked = [search.ask() for _ in range(4)]
    for number in range(7):
        proposal = asked[number]
        status = ("completed", "pruned", "failed")[number % 3 if number > 4 else 0]
        result = {"frechet_distance": lots.random(), "validation_auroc": 0.75}
        columns = {name: getattr(proposal.config, name) for name in search.space} | {"phase": proposal.phase}
        columns["lstm_depth"] = float(columns["lstm_depth"])  # as tables with empty rows give whole numbers back
        rows[proposal.trial_id] = columns | result | {"status": status}
        search.tell(proposal.number, status, result)
        asked.append(search.ask())
    return folder, rows


@pytest.fixture
def searched(original, tmp_path):
    """A copy of it."""
    folder, rows = original
    return Path(shutil.copytree(folder, tmp_path / folder.name)), dict(rows)


def known(folder: Path, rows: dict) -> tuple:
    """What a resumed search knows: its trials as Optuna has them, what it runs again, and what it proposes next."""
    search = new_search(folder, ended=["baseline-000"], rows=rows)
    trials = [(t.number, t.state, t.values, t.params, t.distributions) for t in search.study.trials]
    return trials, search.waiting, search.ask(), search.mended


def test_a_resumed_search_knows_what_the_first_one_knew(original):
    folder, rows = original
    before = optuna.load_study(study_name=folder.name, storage=open_storage(folder / "optuna.db")).trials
    search = new_search(folder, ended=["baseline-000"], rows=rows)
    for old, new in zip(before, search.study.trials, strict=True):
        for name in ("number", "state", "values", "params", "distributions", "user_attrs"):
            assert getattr(old, name) == getattr(new, name)
    assert [proposal.number for proposal in search.waiting] == [7, 8, 9, 10] and not search.mended


def test_whatever_has_become_of_optunas_file_changes_nothing(searched):
    folder, rows = searched
    file, expected = folder / "optuna.db", known(folder, rows)
    for content in [None, b"", b"nothing", *damages(file.read_bytes(), 10, 4)]:
        file.unlink()
        for name in ("optuna.db-journal", "optuna.db-wal", ".tmp-optuna.db"):
            (folder / name).write_bytes(b"left behind")
        if content is not None:
            file.write_bytes(content)
        assert known(folder, rows) == expected
        assert not list(folder.glob("*.db-*")) and not list(folder.glob(".tmp*"))


def test_readers_of_optunas_file_see_the_old_one_or_the_new_one(searched, monkeypatch):
    """Stopped just before the new file takes the old one's place."""
    folder, rows = searched
    with sqlite3.connect(folder / "optuna.db") as reader:
        reader.execute("DELETE FROM trials WHERE number > 4")
    monkeypatch.setattr("study.search.records.os.replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new_search(folder, rows=rows)
    assert len(optuna.load_study(study_name=folder.name, storage=open_storage(folder / "optuna.db")).trials) == 5


@pytest.mark.parametrize("name", ["100% sure?", "a#b&c;d", "{x} %20"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    search = new_search(folder, ended=["baseline-000"])
    search.ask()
    assert new_search(folder, ended=["baseline-000"]).ask().number == 0
    assert [path.name for path in tmp_path.iterdir()] == [name] and (folder / "optuna.db").stat().st_size > 0


def test_a_trial_whose_row_was_lost_runs_again(searched):
    folder, rows = searched
    del rows["paper-001"]
    search = new_search(folder, ended=["baseline-000"], rows=rows)
    assert [proposal.number for proposal in search.waiting] == [1, 7, 8, 9, 10]


@pytest.mark.parametrize("number", [2, 5])
def test_a_damaged_proposal_is_written_again_from_the_row(searched, number):
    folder, rows = searched
    *expected, _ = known(folder, rows)
    file = folder / "proposals" / f"{number:05d}.json"
    for damaged in damages(file.read_bytes(), 3, 2):
        file.write_bytes(damaged)
        *knows, mended = known(folder, rows)
        assert knows == expected and f"{file} is damaged" in mended[0] and "it is written again" in mended[0]
        assert known(folder, rows) == (*expected, []), "and is whole at the next start"


def test_a_damaged_proposal_of_the_papers_is_written_again_without_a_row(searched):
    folder, rows = searched
    del rows["paper-003"]
    *expected, _ = known(folder, rows)
    (folder / "proposals" / "00003.json").write_text("{}", encoding="utf-8")
    *knows, mended = known(folder, rows)
    assert knows == expected and len(mended) == 1


@pytest.mark.parametrize("number", [8, 10])
def test_the_number_of_a_lost_proposal_is_not_used_again(searched, number):
    """A checkpoint of the trial may lie under its name."""
    folder, rows = searched
    (folder / "proposals" / f"{number:05d}.json").write_text("{}", encoding="utf-8")
    for start in (1, 2):
        search = new_search(folder, ended=["baseline-000"], rows=rows)
        assert [proposal.number for proposal in search.waiting] == [n for n in (7, 8, 9, 10) if n != number]
        assert ["another trial takes its place" in line for line in search.mended] == [True] * (start == 1)
        search.waiting.clear()
    assert search.ask().number == 11
