"""Every kind of file that is read back, with flipped bits and cut short: found and mended, or without any effect."""

import errno
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_utils.dataset import load_dataset
from data_utils.errors import DataError
from models.feature_extractor import FeatureExtractor
from results.tables.mending import set_aside_damaged
from results.tables.schema import HISTORY, PREDICTIONS, TABLES, TRIALS
from results.tables.store import TableError, read_table, write_rows
from study.config import make_config, preset
from study.errors import ConfigError
from study.gan.features import real_features
from study.gan.folder import GanFolder
from study.gan.networks import new_generator
from study.gan.sampling import load_generator, save_generator
from study.gan.store import read_result
from study.settings import stored_settings, write_settings
from study.storage.checkpoint import save_checkpoint
from study.storage.sealed import write_json
from study.training.workers import load_checkpoint
from tests.support.damage import damages

SMOKE = make_config(preset("smoke"))
NUM_FLIPS, NUM_CUTS = 200, 20



def count_found(folder: Path, file: Path, read: Callable, flips: int = NUM_FLIPS, cuts: int = NUM_CUTS) -> int:
    """How many damages are found: named in an error or a warning, by `read` of the folder. Asserts that those that are
    not are read as the whole file is, and so are those that were mended."""
    whole, backup = file.read_bytes(), folder.with_name(f"{folder.name}-backup")
    expected, found = read(folder), 0
    shutil.copytree(folder, backup)
    for damaged in damages(whole, flips, cuts):
        file.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                content, said = read(folder), [str(warning.message) for warning in warned]
            except (ConfigError, DataError, TableError) as error:
                content, said = expected, [str(error)]
        assert content == expected, "read as something else"
        assert all(file.name in line for line in said)
        found += bool(said)
        if said:
            shutil.rmtree(folder)
            shutil.copytree(backup, folder)
    return found


# ---- one reader for each kind of file


def a_table(schema, name: str):
    def make(folder: Path) -> Path:
        lots = random.Random(1)
        values = {"string": lambda: lots.choice("abc"), "int64": lambda: lots.randrange(9), "double": lots.random}
        values["bool"] = lambda: lots.random() < 0.5
        rows = [{field.name: values[str(field.type)]() for field in schema} for _ in range(20)]
        write_rows(folder / name / "a.parquet", rows, schema)
        return folder / name / "a.parquet"

    return make, lambda folder: read_table(folder, name).to_dict("records")


def a_checkpoint(folder: Path) -> Path:
    """The one that is there is the previous one's copy, so that going back to it gives the same."""
    for epoch in (1, 2):
        save_checkpoint(folder, epoch, {"weights": torch.arange(200.0)})
    return max(folder.iterdir())


class MeanColour(torch.nn.Module):
    def forward(self, images):
        return images.float().mean((2, 3)), None


IMAGES = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


def cached_features(folder: Path) -> list:
    extractor = FeatureExtractor("mean colour", "k", False, MeanColour(), torch.device("cpu"))
    return real_features(IMAGES, extractor, folder / "features.safetensors").features.tolist()


def a_features_cache(folder: Path) -> Path:
    cached_features(folder)
    return folder / "features.safetensors"


@pytest.fixture(scope="module")
def tiny_gan(tiny_settings):
    return make_config(tiny_settings | {"latent_dim": 2, "lstm_width": 2, "decoder_width": 8, "lstm_depth": 0})


def settings_of(folder: Path) -> dict:
    return stored_settings(folder) | {"path": None}


def a_study_file(folder: Path) -> Path:
    write_settings(folder, {"preset": "smoke", "config": SMOKE.model_dump(), "fixed": {}, "objective": "pareto"})
    return folder / "study.json"


KINDS = {
    "trials": a_table(TRIALS, "trials"),
    "history": a_table(HISTORY, "history"),
    "predictions": a_table(PREDICTIONS, "predictions"),
    "checkpoint": (a_checkpoint, lambda folder: load_checkpoint(folder, "cpu")["weights"].tolist()),
    "features": (a_features_cache, cached_features),
    "study.json": (a_study_file, settings_of),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_never_changes_what_is_read(tmp_path, kind):
    make, read = KINDS[kind]
    found = count_found(tmp_path / "folder", make(tmp_path / "folder"), read)
    assert found > 0.4 * (NUM_FLIPS + NUM_CUTS)  # the others fell on bytes that carry no value


def test_no_damaged_photograph_is_read(tmp_path, prepared_phantoms):
    path = Path(shutil.copy(prepared_phantoms.path, (tmp_path / "folder").mkdir() or tmp_path / "folder"))

    def read(folder):
        dataset = load_dataset(folder / path.name, 32)
        arrays = dataset.images.numpy(), dataset.labels.numpy(), dataset.split, dataset.groups, dataset.image_ids
        return [array.tolist() for array in arrays], dataset.fingerprint, dataset.class_names

    assert count_found(tmp_path / "folder", path, read, 60, 5) > 40


@pytest.mark.parametrize("name", ["generator", "result"])
def test_a_damaged_gan_is_not_used(tmp_path, tiny_gan, name):
    """Neither its images nor its numbers; who needs it trains it again."""
    torch.manual_seed(0)
    folder = GanFolder(tmp_path / "gan")
    save_generator(new_generator(tiny_gan), folder)
    write_json(folder.result, {"metrics": {"frechet_distance": 90.5, "fid": None}, "history": [{"epoch": 1}]})
    whole = read_result(folder), weights(tiny_gan, folder)
    file, found = getattr(folder, name), 0
    backup = file.read_bytes()
    for damaged in damages(backup, NUM_FLIPS, NUM_CUTS):
        file.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result = read_result(folder)
        if result is None:
            assert [str(warning.message).startswith(f"{file} is damaged") for warning in warned] == [True]
            assert file.with_name(f"{file.name}.damaged").read_bytes() == damaged and not file.exists()
            found += 1
        else:
            assert (result, weights(tiny_gan, folder)) == whole
        file.write_bytes(backup)
    assert found > 0.9 * (NUM_FLIPS + NUM_CUTS)


def weights(config, folder: GanFolder) -> dict:
    return {name: tensor.tolist() for name, tensor in load_generator(config, folder, "cpu").state_dict().items()}


# ---- tables


def test_damaged_parts_are_set_aside_with_the_row_they_belong_to(tmp_path):
    for name in ("paper-000", "paper-001", "paper-002"):
        for table, schema in (("trials", TRIALS), ("history", HISTORY), ("predictions", PREDICTIONS)):
            row = dict.fromkeys(schema.names) | {"trial_id": name}
            write_rows(tmp_path / table / f"{name}.parquet", [row], schema)
    damaged = tmp_path / "predictions" / "paper-001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "trials" / "paper-002.parquet").write_bytes(b"")
    lines = set_aside_damaged(tmp_path)
    assert len(lines) == 2 and any(str(damaged) in line for line in lines)
    assert list(read_table(tmp_path, "trials")["trial_id"]) == ["paper-000"]
    assert list(read_table(tmp_path, "predictions")["trial_id"]) == ["paper-000", "paper-002"]
    assert {path.name for path in tmp_path.rglob("*.damaged")} == {
        "_paper-001.parquet.damaged", "_paper-002.parquet.damaged"
    }  # fmt: skip
    assert set_aside_damaged(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EMFILE, errno.EIO])
def test_a_file_that_the_system_cannot_read_is_not_called_damaged(tmp_path, monkeypatch, number):
    path = tmp_path / "trials" / "a.parquet"
    write_rows(path, [dict.fromkeys(TRIALS.names) | {"trial_id": "a"}], TRIALS)

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("results.tables.store.pq.ParquetFile", fail)
    with pytest.raises(TableError, match=rf"a\.parquet cannot be read \({os.strerror(number)}\)"):
        set_aside_damaged(tmp_path)
    assert path.exists() and not list(tmp_path.rglob("*.damaged"))


def test_pandas_and_duckdb_ignore_what_was_set_aside(tmp_path):
    import duckdb
    import pandas as pd

    for name in ("a", "b"):
        write_rows(tmp_path / "trials" / f"{name}.parquet", [dict.fromkeys(TRIALS.names) | {"trial_id": name}], TRIALS)
    (tmp_path / "trials" / "b.parquet").write_bytes(b"PAR1")
    set_aside_damaged(tmp_path)
    assert list(pd.read_parquet(tmp_path / "trials")["trial_id"]) == ["a"]
    assert duckdb.sql(f"SELECT trial_id FROM '{tmp_path}/trials/*.parquet'").fetchall() == [("a",)]


def test_every_table_of_a_study_is_checked(tmp_path):
    for name in TABLES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.parquet").write_bytes(b"PAR1")
    assert len(set_aside_damaged(tmp_path)) == len(TABLES)
