"""Publishing to a store. `file://` stands for the others: pyarrow serves all of them through one interface."""

import hashlib
import os
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from results.publish import UNFINISHED, main, publish
from results.tables.schema import TABLES
from results.tables.store import TableError, read_table
from tests.support.report_study import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = make_study(tmp_path_factory.mktemp("runs") / "study")
    (folder / "leaderboard.csv").write_text("rank,trial_id\n0,paper\n", encoding="utf-8")
    for private in ("prepared/salt", "checkpoints/t/checkpoint.pt", "gans/g/generator.safetensors", "trials/.tmp-t"):
        (folder / private).parent.mkdir(parents=True, exist_ok=True)
        (folder / private).write_bytes(b"private")
    return folder


def published(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_each_table_is_one_file_that_every_reader_reads(study, tmp_path, scheme):
    folder, before = tmp_path / "bucket/study", published(study)
    assert main([str(study), f"{scheme}{folder}", "--tables-only"]) == 0
    assert set(published(folder)) == {*(f"{name}.parquet" for name in TABLES), "leaderboard.csv"}
    for name in TABLES:
        expected = read_table(study, name)
        pd.testing.assert_frame_equal(pd.read_parquet(f"{scheme}{folder}/{name}.parquet"), expected)
        pd.testing.assert_frame_equal(read_table(folder, name), expected)
        assert len(duckdb.sql(f"SELECT * FROM '{folder}/{name}.parquet'").fetchall()) == len(expected)
    assert published(study) == before  # the study's own folder is never rewritten


def test_folders_relative_to_the_working_folder_are_targets(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(study), "copy", "--tables-only"]) == 0 and (tmp_path / "copy/trials.parquet").exists()


@pytest.mark.parametrize("target", ["{}", "{}/trials", "file://{}"])
def test_target_inside_the_study_is_refused(study, capsys, target):
    before = published(study)
    assert main([str(study), target.format(study), "--tables-only"]) == 2
    assert "choose a folder outside" in " ".join(capsys.readouterr().err.split()) and published(study) == before


def test_report_is_made_anew_without_photographs_and_nothing_private_goes_along(study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path / "study")
    page = tmp_path / "study/report/report.html"
    page.parent.mkdir()
    page.write_text("a page with photographs", encoding="utf-8")

    def write_report(study: Path, out: Path, show_real: bool = False) -> None:
        (out / "figures").mkdir(parents=True)
        (out / "report.html").write_text("photographs" if show_real else "none", encoding="utf-8")
        (out / "figures/roc.svg").touch()

    monkeypatch.setattr("results.publish.write_report", write_report)
    names = dict(publish(tmp_path / "study", f"file://{tmp_path}/store"))
    report = {"report/report.html", "report/figures/roc.svg"}
    assert names.keys() == {*(f"{table}.parquet" for table in TABLES), "leaderboard.csv", *report}
    assert published(tmp_path / "store").keys() == names.keys()
    assert (tmp_path / "store/report/report.html").read_text(encoding="utf-8") == "none"


def test_again_copies_what_is_new_or_was_changed_there(study, tmp_path):
    address = f"file://{tmp_path}"
    assert {done for _, done in publish(study, address, tables_only=True)} == {"copied"}
    before = published(tmp_path)
    with open(tmp_path / "history.parquet", "r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    again = dict(publish(study, address, tables_only=True))
    assert [name for name, done in again.items() if done == "copied"] == ["history.parquet"]
    assert published(tmp_path) == before


def test_interrupted_copy_is_no_table_and_the_next_one_replaces_it(study, tmp_path, monkeypatch):
    def stop(store, target):
        if UNFINISHED in target:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("results.publish.stored_checksum", stop)
        with pytest.raises(KeyboardInterrupt):
            list(publish(study, f"file://{tmp_path}", tables_only=True))
    assert [os.path.basename(name) for name in published(tmp_path)] == [f"{UNFINISHED}attributes.parquet"]
    list(publish(study, f"file://{tmp_path}", tables_only=True))
    assert not [name for name in published(tmp_path) if UNFINISHED in name]


def test_what_reads_back_otherwise_is_not_given_its_name(study, tmp_path, monkeypatch):
    monkeypatch.setattr("results.publish.stored_checksum", lambda store, target: b"another")
    with pytest.raises(TableError, match=r"does not hold what was written"):
        list(publish(study, f"file://{tmp_path}", tables_only=True))
    assert not (tmp_path / "attributes.parquet").exists()


def test_damaged_table_is_not_published(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    part = next((tmp_path / "study/estimates").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(TableError, match="estimates"):
        list(publish(tmp_path / "study", f"file://{tmp_path}/store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("address", ["nowhere://bucket", "file:///proc/study", "/proc/study"])
def test_store_that_cannot_be_written_and_folder_that_is_no_study_are_named(study, address, capsys, tmp_path):
    assert main([str(study), address, "--tables-only"]) == 2
    assert address.removeprefix("file://").removesuffix("://bucket") in " ".join(capsys.readouterr().err.split())
    assert main([str(tmp_path), address]) == 2
    assert str(tmp_path) in " ".join(capsys.readouterr().err.split())
