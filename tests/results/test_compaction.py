"""Many small files joined into one: no row lost, none twice, the newest wins."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from results import compaction
from results.compaction import compact, main
from results.tables.mending import set_aside_damaged
from results.tables.schema import HISTORY, PREDICTIONS, SCHEMA_VERSION, TRIALS
from results.tables.store import TableError, read_history, read_trials, write_rows


def write_history(study: Path, trial_id: str, losses: list[float]) -> Path:
    path = study / "history" / f"{trial_id}.parquet"
    rows = [{"trial_id": trial_id, "epoch": epoch, "critic_loss": loss} for epoch, loss in enumerate(losses)]
    write_rows(path, rows, HISTORY)
    return path


def losses(study: Path) -> dict[str, list[float]]:
    return read_history(study).groupby("trial_id")["critic_loss"].agg(list).to_dict()


@pytest.fixture
def study(tmp_path) -> Path:
    """Three trials with 2, 0 and 3 reports."""
    for trial_id, values in EXPECTED.items():
        write_history(tmp_path, trial_id, values)
    write_history(tmp_path, "empty", [])
    return tmp_path


EXPECTED = {"a": [0.5, 0.25], "b": [3.0, 2.0, 1.0]}


def test_one_file_with_the_same_rows_for_every_reader(study):
    before = read_history(study)
    assert compact(study, "history") == 3
    assert [path.name for path in (study / "history").iterdir()] == ["compacted-0.parquet"]
    pd.testing.assert_frame_equal(read_history(study), before)
    pd.testing.assert_frame_equal(pd.read_parquet(study / "history"), before)


def test_nothing_to_join(tmp_path):
    assert compact(tmp_path, "history") == 0
    path = write_history(tmp_path, "a", [1.0])
    assert compact(tmp_path, "history") == 0 and path.exists()


def test_rows_written_later_win_and_are_joined_by_the_next_compaction(study):
    compact(study, "history")
    write_history(study, "b", [7.0])
    write_history(study, "c", [9.0, 8.0])
    newest = {"a": [0.5, 0.25], "b": [7.0], "c": [9.0, 8.0]}
    assert losses(study) == newest
    assert compact(study, "history") == 3
    assert [path.name for path in (study / "history").iterdir()] == ["compacted-1.parquet"]
    assert losses(study) == newest
    write_history(study, "a", [])  # a part without rows replaces too
    assert losses(study) == {"b": [7.0], "c": [9.0, 8.0]}


@pytest.mark.parametrize("num_removed", range(5))
def test_a_crash_while_parts_are_removed_costs_no_row(study, monkeypatch, num_removed):
    """The second compaction joins two parts and an older compacted file; it is stopped after `num_removed` of them."""
    compact(study, "history")
    write_history(study, "b", [7.0])
    write_history(study, "c", [9.0])
    removed, unlink = [], Path.unlink

    def crash(path):
        if len(removed) == num_removed:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        if num_removed < 3:
            with pytest.raises(KeyboardInterrupt):
                compact(study, "history")
        else:
            compact(study, "history")
    newest = {"a": [0.5, 0.25], "b": [7.0], "c": [9.0]}
    assert losses(study) == newest
    write_history(study, "c", [4.0])
    assert losses(study) == newest | {"c": [4.0]}
    compact(study, "history")
    assert losses(study) == newest | {"c": [4.0]}
    assert len(pd.read_parquet(study / "history")) == 4  # healed for every reader


def test_a_row_replaced_while_it_is_compacted_is_kept(study, monkeypatch):
    replace_file = compaction.replace_file

    def interfere(path, table):
        write_history(study, "a", [6.0])
        replace_file(path, table)

    monkeypatch.setattr(compaction, "replace_file", interfere)
    compact(study, "history")
    assert losses(study) == EXPECTED | {"a": [6.0]}


def test_the_tenth_compaction_is_newer_than_the_ninth(tmp_path):
    write_history(tmp_path, "a", [0.0])
    for number in range(11):
        write_history(tmp_path, "b", [float(number)])
        assert compact(tmp_path, "history") == 2
    assert [path.name for path in (tmp_path / "history").iterdir()] == ["compacted-10.parquet"]
    older = tmp_path / "history" / "compacted-9.parquet"
    older.write_bytes((tmp_path / "history" / "compacted-10.parquet").read_bytes())
    assert losses(tmp_path) == {"a": [0.0], "b": [10.0]}


def test_version_1_is_brought_up(tmp_path):
    for trial_id in "ab":
        path = tmp_path / "history" / f"{trial_id}.parquet"
        write_rows(path, [{"trial_id": trial_id, "epoch": 1}], HISTORY)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"schema_version": "1"}), path)
    compact(tmp_path, "history")
    metadata = pq.read_schema(tmp_path / "history" / "compacted-0.parquet").metadata
    assert metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert read_history(tmp_path)["trial_id"].tolist() == ["a", "b"]


def test_a_damaged_part_stops_it_and_all_files_stay(study):
    path = study / "history" / "b.parquet"
    path.write_bytes(path.read_bytes()[:100])
    before = sorted((study / "history").iterdir())
    with pytest.raises(TableError, match=r"b\.parquet is damaged"):
        compact(study, "history")
    assert sorted((study / "history").iterdir()) == before


def test_damage_to_the_list_of_parts_is_found(study):
    compact(study, "history")
    path = study / "history" / "compacted-0.parquet"
    table = pq.read_table(path)
    metadata = table.schema.metadata | {b"parts": table.schema.metadata[b"parts"].replace(b"b.parquet", b"c.parquet")}
    for damaged in (metadata, {name: metadata[name] for name in (b"schema_version", b"missing_keys")}):
        pq.write_table(table.replace_schema_metadata(damaged), path)
        with pytest.raises(TableError, match=r"compacted-0\.parquet is damaged .*list of parts"):
            read_history(study)


def test_a_name_that_is_no_compacted_files_is_told(study):
    compact(study, "history")
    path = study / "history" / "compacted-0.parquet"
    path.rename(path.with_name("compacted-old.parquet"))
    with pytest.raises(TableError, match=r"compacted-old\.parquet: .*move it away"):
        read_history(study)


def test_rows_that_say_what_is_done_are_joined_last(tmp_path, capsys):
    """A damaged piece stops the command while the row of its trial can still be set aside with it."""
    for trial_id in "abc":
        for table, schema in (("trials", TRIALS), ("predictions", PREDICTIONS)):
            row = dict.fromkeys(schema.names) | {"trial_id": trial_id}
            write_rows(tmp_path / table / f"{trial_id}.parquet", [row], schema)
    (tmp_path / "predictions" / "b.parquet").write_bytes(b"PAR1")
    assert main([str(tmp_path)]) == 2 and "b.parquet is damaged" in capsys.readouterr().err
    set_aside_damaged(tmp_path)
    assert read_trials(tmp_path)["trial_id"].tolist() == ["a", "c"]


def test_command(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2 and "no study here" in capsys.readouterr().err
    for trial_id in "abc":
        row = dict.fromkeys(TRIALS.names) | {"trial_id": trial_id}
        write_rows(tmp_path / "trials" / f"{trial_id}.parquet", [row], TRIALS)
    assert main([str(tmp_path)]) == 0
    assert "trials                  3 files joined" in capsys.readouterr().out
    assert read_trials(tmp_path)["trial_id"].tolist() == ["a", "b", "c"]
