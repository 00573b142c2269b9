"""Damaged and invented input for everything that reads files or flags of a user: a clear error, or a valid result.

Hypothesis invents; three seconds by default, a minute where it is marked slow. The number of inputs tried is printed:
`pytest -m slow -rP tests/test_fuzz.py`.
"""

import io
import json
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from data_utils.dataset import load_dataset
from data_utils.decode import BadImage, decode
from data_utils.errors import DataError
from data_utils.layouts import recognise
from data_utils.prepare import prepare
from results.tables.schema import TRIALS
from results.tables.store import TableError, read_trials, write_rows
from study.config import TrialConfig, make_config, preset
from study.errors import ConfigError
from study.flags.parsers import sweep_parser
from study.settings import StudySettings, refuse_other_settings
from study.storage.sealed import write_json

SECONDS = [pytest.param(0.6, id="short"), pytest.param(12, marks=pytest.mark.slow, id="long")]  # of five targets
Target = Callable[[Path, object], bool]  # whether the input was taken; anything but a clear error is raised


def fuzz(target: Target, inputs: st.SearchStrategy, seconds: float, folder: Path) -> tuple[int, int]:
    """Give `target` inputs for so long, each in an empty folder; hypothesis makes a failing one small.

    Returns how many were taken, and how many were tried.
    """
    tried = taken = rounds = 0
    deadline = time.monotonic() + seconds

    def attempt(value) -> None:
        nonlocal tried, taken
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            taken += target(Path(empty), value)
        tried += 1

    calm = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    while time.monotonic() < deadline:
        seed(rounds)(calm(given(inputs)(attempt)))()
        rounds += 1
    print(f"{tried} tried, {taken} of them taken")
    return taken, tried


# ---- what is invented

Edit = tuple[int, int, bytes]  # place, bytes taken out there, bytes put in
EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 9), st.binary(max_size=9)), max_size=6)


def edited(whole: bytes, edits: list[Edit]) -> bytes:
    for place, taken_out, put_in in edits:
        place %= len(whole) + 1
        whole = whole[:place] + put_in + whole[place + taken_out :]
    return whole


def damaged(*whole: bytes) -> st.SearchStrategy[bytes]:
    """Whole files with up to six cuts, flips and insertions, and now and then bytes that were never a file."""
    return st.builds(edited, st.sampled_from(whole), EDITS) | st.binary(max_size=99)


def images() -> list[bytes]:
    """Small ones in every format and mode that is read."""
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "artist"
    kinds = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("BMP", "RGB")]
    kinds += [("GIF", "P"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "L"), ("TIFF", "1"), ("PNG", "I;16")]
    files = []
    for form, mode in kinds:
        image = pixels.convert("L").convert(mode) if mode == "I;16" else pixels.convert(mode)
        image.save(file := io.BytesIO(), form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}))
        files.append(file.getvalue())
    pixels.save(file := io.BytesIO(), "TIFF", compression="tiff_lzw", tiffinfo=TiffImagePlugin.ImageFileDirectory_v2())
    return [*files, file.getvalue()]


def rechecked(png: bytes) -> bytes:
    """A PNG file's checksums made right again, so that its decoder goes on to the damage behind them."""
    out, place = png[:8], 8
    while place + 12 <= len(png):
        end = place + 8 + min(int.from_bytes(png[place : place + 4], "big"), len(png) - place - 12)
        out += png[place:end] + zlib.crc32(png[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return out


NAMES = st.sampled_from(["path", "label", "group", "infected", "clean", "a.png", "../a.png", "/etc/passwd", "", "x\0"])
CELLS = NAMES | st.text(max_size=9)
MANIFESTS = st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6).map(
    lambda rows: "\n".join(["path,label,group", *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass")
)
WHOLE_MANIFEST = b'path,label,group\na.png,infected,p1\n"b.png",clean,"p,2"\n'
NUMBERS = st.integers().map(str) | st.floats().map(str) | st.sampled_from(["1e999", "0x10", "1_0", "٣", "True", "null"])
VALUES = NUMBERS | st.text(max_size=9) | st.sampled_from(["plain", "float32", "synthetic_only", "efficientnetv2_s"])
FIELDS = st.sampled_from(sorted(TrialConfig.model_fields)) | st.text(max_size=9)
ASSIGNMENTS = st.lists(st.tuples(FIELDS, VALUES).map("=".join) | st.text(max_size=9), max_size=4)
WORDS = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS, part, max_size=3),
)


# ---- what is given it


def give_image(folder: Path, content: bytes) -> bool:
    (folder / "a.jpg").write_bytes(content)
    try:
        image = decode(folder / "a.jpg", folder)
    except BadImage as reason:
        assert str(reason)
        return False
    assert image.mode == "RGB" and image.info == {} and np.asarray(image).dtype == np.uint8
    return True


def give_manifest(folder: Path, content: bytes) -> bool:
    (folder / "list.csv").write_bytes(content)
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    try:
        source = recognise(folder / "list.csv", positive="infected")
    except DataError as error:
        assert "list.csv" in str(error)
        return False
    assert {record.label for record in source.records} == {0, 1} and all(record.group for record in source.records)
    with pytest.raises(DataError, match="cannot be used"):  # the files are empty
        prepare(folder / "list.csv", folder / "out", image_size=16, positive="infected")
    return True


def give_assignments(folder: Path, assignments: list[str]) -> bool:
    options = sweep_parser().parse_args([word for one in assignments for word in (f"--set={one}",)])
    try:
        base = StudySettings.resolve(options).base
    except ConfigError as error:
        assert str(error)
        return False
    assert base == make_config(json.loads(base.model_dump_json())) and base.arm and base.classifier_key
    return True


def give_settings(folder: Path, content: bytes) -> bool:
    (folder / "study.json").write_bytes(content)
    try:
        refuse_other_settings(folder, SETTINGS)
    except ConfigError as error:
        assert str(folder) in str(error) or "=" in str(error) or "field" in str(error)
        return False
    return True


def give_trials(folder: Path, content: bytes) -> bool:
    (folder / "trials").mkdir()
    (folder / "trials" / "a.parquet").write_bytes(content)
    try:
        trials = read_trials(folder)
    except TableError as error:
        assert "a.parquet" in str(error)
        return False
    assert trials["trial_id"].tolist() == ["a"] and trials["gan_epochs"].tolist() == [3]
    return True


SETTINGS = {
    "preset": "smoke", "fixed": {}, "objective": "pareto", "config": make_config(preset("smoke")).model_dump(),
    "data_fingerprint": "f", "split_protocol": "grouped",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # a user's run does not raise on Pillow's
@pytest.mark.parametrize("seconds", SECONDS)
def test_images(tmp_path, seconds):
    inputs = damaged(*images())
    taken, tried = fuzz(give_image, inputs | inputs.map(rechecked), seconds, tmp_path)
    assert 0 < taken < tried


@pytest.mark.parametrize("seconds", SECONDS)
def test_manifests(tmp_path, seconds):
    taken, tried = fuzz(give_manifest, MANIFESTS | damaged(WHOLE_MANIFEST), seconds, tmp_path)
    assert 0 < taken < tried


@pytest.mark.parametrize("seconds", SECONDS)
def test_assignments(tmp_path, seconds):
    taken, tried = fuzz(give_assignments, ASSIGNMENTS, seconds, tmp_path)
    assert 0 < taken < tried


@pytest.mark.filterwarnings("ignore:.* was set aside")
@pytest.mark.parametrize("seconds", SECONDS)
def test_study_files(tmp_path, seconds):
    def sealed(config: dict) -> bytes:
        write_json(tmp_path / "new.json", SETTINGS | {"config": SETTINGS["config"] | config})
        return (tmp_path / "new.json").read_bytes()

    configs = st.dictionaries(st.sampled_from(sorted(TrialConfig.model_fields)), JSON, max_size=3)
    inputs = damaged(sealed({})) | configs.map(sealed) | JSON.map(lambda content: json.dumps(content).encode())
    taken, tried = fuzz(give_settings, inputs, seconds, tmp_path)
    assert 0 < taken < tried


@pytest.mark.parametrize("seconds", SECONDS)
def test_tables_and_prepared_files(tmp_path, prepared_phantoms, seconds):
    write_rows(tmp_path / "a.parquet", [dict.fromkeys(TRIALS.names) | {"trial_id": "a", "gan_epochs": 3}], TRIALS)
    taken, tried = fuzz(give_trials, damaged((tmp_path / "a.parquet").read_bytes()), seconds / 2, tmp_path)
    assert 0 < taken < tried

    def give_prepared(folder: Path, content: bytes) -> bool:
        (folder / "f.parquet").write_bytes(content)
        try:
            dataset = load_dataset(folder / "f.parquet", 32)
        except DataError as error:
            assert "f.parquet" in str(error)
            return False
        assert (dataset.images == whole.images).all() and dataset.class_names == whole.class_names
        return True

    whole = load_dataset(prepared_phantoms.path, 32)
    shutil.copy(prepared_phantoms.path, tmp_path)
    taken, tried = fuzz(give_prepared, damaged(prepared_phantoms.path.read_bytes()), seconds / 2, tmp_path)
    assert 0 < taken < tried
