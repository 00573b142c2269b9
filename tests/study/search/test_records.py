"""Optuna's file, which has no checksum of its own, never says otherwise than the study's proposals and rows."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from study.commands.sweep import catch_up
from study.errors import ConfigError
from study.search.proposer import OBJECTIVES
from study.search.records import hold_to_records
from tests.support.damage import damages
from tests.support.trainings import new_search


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Nothing waits for the disk: these tests are about content, and make hundreds of small files."""
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
        row = {"status": status, "phase": proposal.phase, "frechet_distance": lots.random(), "validation_auroc": 0.75}
        rows[proposal.trial_id] = row
        search.tell(proposal.number, status, row)
        asked.append(search.ask())
    return folder, rows


@pytest.fixture
def searched(original, tmp_path):
    """A copy of it."""
    folder, rows = original
    return Path(shutil.copytree(folder, tmp_path / folder.name)), dict(rows)


def known(folder: Path, rows: dict) -> tuple:
    """What a resumed search knows: its trials as Optuna has them, and what it proposes next."""
    search = new_search(folder, ended=["baseline-000", *rows])
    catch_up(search, rows)
    trials = [(t.number, t.state, t.values, t.params, t.distributions, t.user_attrs) for t in search.study.trials]
    return trials, search.ask()


def resumed(folder: Path, rows: dict) -> tuple[list[str], tuple]:
    lines = hold_to_records(folder, rows, OBJECTIVES["pareto"])
    return lines, known(folder, rows)


def copied(folder: Path, number: int) -> Path:
    """A study of the same name, which Optuna's file holds too."""
    return Path(shutil.copytree(folder, folder.parent / f"copy-{number}" / folder.name))


def test_a_whole_file_is_left_alone(searched):
    folder, rows = searched
    before = (folder / "optuna.db").read_bytes()
    assert hold_to_records(folder, rows, OBJECTIVES["pareto"]) == []
    assert (folder / "optuna.db").read_bytes() == before


@pytest.mark.parametrize("num_flips", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_optuna_never_knows_otherwise_than_the_rows(searched, num_flips):
    folder, rows = searched
    expected, found = known(copied(folder, -1), rows), 0
    for number, damaged in enumerate(damages((folder / "optuna.db").read_bytes(), num_flips, 4)):
        copy = copied(folder, number)
        (copy / "optuna.db").write_bytes(damaged)
        lines, knows = resumed(copy, rows)
        assert knows == expected
        if lines:
            assert "optuna.db" in lines[0] and (copy / "optuna.db.damaged").exists()
            found += 1
        shutil.rmtree(copy.parent)
    assert found >= 4


def edited(folder: Path, statement: str) -> None:
    """A change that leaves the file a sound database: what integrity checks cannot see."""
    with sqlite3.connect(folder / "optuna.db") as connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE trial_values SET value = value + 1 WHERE trial_id = 2", "trial 1 ended otherwise"),
        ("UPDATE trials SET state = 'PRUNED' WHERE number = 0", "trial 0 ended otherwise"),
        ("UPDATE trials SET state = 'COMPLETE' WHERE number = 10", "trial 10 has ended, but has no row"),
        ("UPDATE trial_params SET param_value = 1 WHERE param_name = 'lstm_depth'", "trial 0 is another"),
        ("UPDATE trial_user_attributes SET value_json = 'true' WHERE key = 'stoppable'", "trial 0 is another"),
        ("DELETE FROM trials WHERE number = 10", "it has 10 trials"),
        ("UPDATE study_directions SET direction = 'MAXIMIZE'", "objectives are others"),
        ("UPDATE studies SET study_name = 'study-b'", "it has 0 trials"),
        ("UPDATE alembic_version SET version_num = 'v0'", "Optuna cannot read it"),
    ],
)
def test_a_sound_database_of_wrong_content_is_made_again(searched, statement, words):
    folder, rows = searched
    expected = known(copied(folder, 0), rows)
    edited(folder, statement)
    lines, knows = resumed(folder, rows)
    assert words in lines[0] and knows == expected


def test_a_lost_file_is_made_again(searched):
    folder, rows = searched
    expected = known(copied(folder, 0), rows)
    (folder / "optuna.db").unlink()
    lines, knows = resumed(folder, rows)
    assert "there is none" in lines[0] and knows == expected


def test_a_trial_whose_row_was_lost_runs_again(searched):
    folder, rows = searched
    lost = rows.pop("paper-001")
    (line,) = hold_to_records(folder, rows, OBJECTIVES["pareto"])
    assert "trial 1 has ended, but has no row" in line
    search = new_search(folder, ended=["baseline-000", *rows])
    catch_up(search, rows)
    again = search.ask()
    assert again.trial_id == "paper-001"
    search.tell(again.number, "completed", lost)
    assert search.study.trials[1].values == [lost["frechet_distance"], 0.75]


def test_a_damaged_proposal_is_written_again(searched):
    folder, rows = searched
    expected = known(copied(folder, -1), rows)
    file = folder / "proposals" / "00003.json"
    whole = file.read_bytes()
    for number, damaged in enumerate(damages(whole, 6, 2)):
        copy = copied(folder, number)
        (copy / "proposals" / "00003.json").write_bytes(damaged)
        lines, knows = resumed(copy, rows)
        assert knows == expected and (copy / "proposals" / "00003.json").read_bytes() == (whole if lines else damaged)


def test_both_damaged_is_refused(searched):
    folder, rows = searched
    (folder / "proposals" / "00003.json").write_text("{}", encoding="utf-8")
    (folder / "optuna.db").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"optuna\.db is damaged .*00003\.json too; copy one of them back"):
        hold_to_records(folder, rows, OBJECTIVES["pareto"])


def test_a_study_from_before_proposals_were_kept(searched):
    folder, rows = searched
    expected = known(copied(folder, 0), rows)
    shutil.rmtree(folder / "proposals")
    assert resumed(folder, rows) == ([], expected)
    assert len(list((folder / "proposals").iterdir())) == len(expected[0])
    (folder / "optuna.db").write_bytes(b"")
    assert hold_to_records(folder, rows, OBJECTIVES["pareto"])
