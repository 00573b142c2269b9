import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import dataset

from results.tables import store as tables
from results.tables.schema import HISTORY, SCHEMA_VERSION, TABLES, TRIALS, describe
from results.tables.store import TableError, read_history, read_trials, write_rows
from study.config import TrialConfig

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {pa.string(): "plain", pa.int64(): 3, pa.float64(): 0.25, pa.bool_(): True}


def full_row(**changes) -> dict:
    return {field.name: SAMPLES[field.type] for field in TRIALS} | changes


def empty_row(**changes) -> dict:
    return dict.fromkeys(TRIALS.names) | changes


def write_trial(study: Path, trial_id: str, **changes) -> Path:
    path = study / "trials" / f"{trial_id}.parquet"
    write_rows(path, [full_row(trial_id=trial_id, **changes)], TRIALS)
    return path


# ---- schema


def test_every_config_field_is_a_column_of_its_type():
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    for name, default in TrialConfig().model_dump().items():
        assert TRIALS.field(name).type == types[type(default)], name


def test_columns_are_distinct_nullable_and_versioned():
    for schema in TABLES.values():
        assert len(set(schema.names)) == len(schema) and all(field.nullable for field in schema)
        assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


def test_the_document_of_the_columns_is_generated_from_the_schema():
    assert (ROOT / "docs" / "columns.md").read_text(encoding="utf-8") == describe()


def test_test_and_validation_are_measured_alike():
    measured = {
        split: [name.removeprefix(split) for name in TRIALS.names if name.startswith(f"{split}_")]
        for split in ("validation", "test")
    }
    assert measured["validation"] == measured["test"]
    assert {"_auroc", "_tpr", "_fpr", "_num_images"} <= set(measured["test"])


# ---- round trip


def test_rows_come_back_and_pandas_pyarrow_and_duckdb_read_the_folder(tmp_path):
    write_trial(tmp_path, "a", test_auroc=0.875, seed=7, gan_reused=False)
    write_trial(tmp_path, "b", test_auroc=0.5)
    table = dataset(tmp_path / "trials").to_table()
    assert table.schema.names == TRIALS.names
    for frame in (read_trials(tmp_path), pd.read_parquet(tmp_path / "trials"), table.to_pandas()):
        assert list(frame.columns) == TRIALS.names and len(frame) == 2
        row = frame.set_index("trial_id").loc["a"]
        assert (row.test_auroc, row.seed, row.gan_reused) == (0.875, 7, False)
    found = duckdb.sql(f"SELECT trial_id, test_auroc FROM '{tmp_path}/trials/*.parquet' ORDER BY trial_id").fetchall()
    assert found == [("a", 0.875), ("b", 0.5)]


def test_numpy_scalars_are_taken_and_numbers_that_are_not_finite_become_null(tmp_path):
    path = write_trial(tmp_path, "a", fid=np.float32(0.5), num_real=np.int64(4), is_sample_data=np.bool_(False))
    row = read_trials(tmp_path).iloc[0]
    assert (row.fid, row.num_real, row.is_sample_data) == (0.5, 4, False)
    numbers = [float("nan"), float("inf"), np.float32("-inf"), np.float64("nan")]
    write_rows(path, [empty_row(fid=number) for number in numbers], TRIALS)
    assert pq.read_table(path)["fid"].null_count == len(numbers)


def test_a_failed_trial_alone_and_beside_a_finished_one(tmp_path):
    write_rows(tmp_path / "trials" / "0.parquet", [empty_row(trial_id="0", status="failed", reason="NaN")], TRIALS)
    assert pd.read_parquet(tmp_path / "trials")["test_auroc"].isna().all()
    write_trial(tmp_path, "1", test_auroc=0.9)
    for frame in (read_trials(tmp_path), pd.read_parquet(tmp_path / "trials")):
        assert frame["test_auroc"].max() == 0.9
        assert frame["trial_id"].tolist() == ["0", "1"]


def test_a_study_without_rows_has_all_columns(tmp_path):
    (tmp_path / "trials").mkdir()
    assert list(read_trials(tmp_path).columns) == TRIALS.names
    assert list(read_history(tmp_path).columns) == HISTORY.names
    assert len(read_trials(tmp_path)) == 0


def test_history_rows_may_leave_the_other_stage_out(tmp_path):
    rows = [
        {"trial_id": "a", "stage": "gan", "epoch": 1, "critic_loss": -2.0},
        {"trial_id": "a", "stage": "classifier", "epoch": 1, "validation_auroc": 0.75},
    ]
    write_rows(tmp_path / "history" / "a.parquet", rows, HISTORY)
    frame = read_history(tmp_path)
    assert frame["stage"].tolist() == ["gan", "classifier"]
    assert frame["critic_loss"].isna().tolist() == [False, True]


# ---- rows that do not fit


def test_unknown_and_missing_keys_are_named(tmp_path):
    path = tmp_path / "trials" / "a.parquet"
    with pytest.raises(TableError, match=r"a\.parquet: unknown columns: test_aurocc"):
        write_rows(path, [full_row(test_aurocc=1.0)], TRIALS)
    incomplete = full_row()
    del incomplete["test_auroc"], incomplete["commit"]
    with pytest.raises(TableError, match="missing columns: commit, test_auroc"):
        write_rows(path, [full_row(), incomplete], TRIALS)
    with pytest.raises(TableError, match="unknown columns: losss"):
        write_rows(path, [{"losss": 1.0}], HISTORY)
    assert not path.exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [("seed", "one"), ("seed", 1.5), ("seed", True), ("backbone", 3), ("pretrained", 1), ("fid", True), ("fid", "0.5")],
)
def test_a_value_of_another_type_names_its_column(tmp_path, column, value):
    with pytest.raises(TableError, match=f"column {column} "):
        write_rows(tmp_path / "a.parquet", [full_row(**{column: value})], TRIALS)
    assert list(tmp_path.iterdir()) == []


# ---- files that do not fit


def test_foreign_columns_and_versions_are_named(tmp_path):
    path = write_trial(tmp_path, "a", commit="abc")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("fid"), path)
    with pytest.raises(TableError, match=r"a\.parquet: missing columns: fid; .*code of commit abc.* new study"):
        read_trials(tmp_path)
    pq.write_table(table.drop_columns(["fid", "commit"]), path)
    with pytest.raises(TableError, match=r"missing columns: commit, fid; read it with the code that wrote it"):
        read_trials(tmp_path)
    pq.write_table(table.append_column("extra", pa.array([1])), path)
    with pytest.raises(TableError, match=r"a\.parquet: unknown columns: extra"):
        read_trials(tmp_path)
    pq.write_table(table.set_column(0, "study", pa.array([1])), path)
    with pytest.raises(TableError, match=r"a\.parquet: .*types"):
        read_trials(tmp_path)
    for version in ("2", "none"):
        metadata = None if version == "none" else {"schema_version": version, "missing_keys": "error"}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with pytest.raises(TableError, match=rf"a\.parquet has schema version {version}, .*version 1; .*new study"):
            read_trials(tmp_path)


@pytest.mark.parametrize("size", [0, 3, 1000])
def test_a_truncated_file_is_named(tmp_path, size):
    write_trial(tmp_path, "good")
    path = write_trial(tmp_path, "torn")
    os.truncate(path, size)
    with pytest.raises(TableError, match=r"torn\.parquet is damaged"):
        read_trials(tmp_path)


def test_flipped_bits_are_never_read_as_values(tmp_path):
    path = write_trial(tmp_path, "a", test_auroc=0.875)
    good, expected = path.read_bytes(), read_trials(tmp_path)
    generator, num_found = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(good)
        damaged[generator.randrange(len(good))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            frame = read_trials(tmp_path)
        except TableError as error:
            assert "a.parquet" in str(error)
            num_found += 1
        else:
            pd.testing.assert_frame_equal(frame, expected)
    assert num_found > 100  # the others fell on bytes that carry no value


# ---- writers that die, readers that watch

ENDLESS_WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from results.tables.schema import HISTORY
from results.tables.store import replace_file

rows = [{"trial_id": "a", "stage": "gan", "epoch": epoch, "critic_loss": epoch / 7} for epoch in range(20_000)]
table = pa.Table.from_pylist(rows, schema=HISTORY)
print("ready", flush=True)
while True:
    replace_file(Path(sys.argv[1]) / "history" / "a.parquet", table)
"""


def test_a_writer_killed_at_any_time_leaves_a_readable_folder(tmp_path):
    generator = random.Random(0)
    for _ in range(5):
        command = [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            while not (tmp_path / "history" / "a.parquet").exists():
                time.sleep(0.005)
            time.sleep(0.2 * generator.random())
            writer.send_signal(signal.SIGKILL)
        assert len(read_history(tmp_path)) == 20_000
        assert len(pd.read_parquet(tmp_path / "history")) == 20_000
    assert list((tmp_path / "history").glob(".tmp-*")), "no kill hit a write: nothing was tested"


def test_readers_see_whole_rows_while_another_writes(tmp_path):
    write_trial(tmp_path, "a", seed=0)
    done = threading.Event()

    def rewrite():
        while not done.is_set():
            write_trial(tmp_path, "a", seed=1)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(30):
            assert len(pd.read_parquet(tmp_path / "trials")) == 1
            assert read_trials(tmp_path)["seed"].item() in (0, 1)
    finally:
        done.set()
        writer.join()
    assert read_trials(tmp_path)["seed"].tolist() == [1]


def test_a_write_that_fails_keeps_the_old_row_and_no_leftover(tmp_path, monkeypatch):
    path = write_trial(tmp_path, "a", seed=1)

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_trial(tmp_path, "a", seed=2)
    assert list(path.parent.iterdir()) == [path]
    assert read_trials(tmp_path)["seed"].item() == 1
