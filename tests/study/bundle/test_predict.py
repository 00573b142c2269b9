"""Photographs in, rows out; bad ones named, the rest done."""

import csv
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_utils.parquet_file import read_table as read_prepared
from results.tables.store import read_table
from study.bundle.using import photographs as using_photographs
from study.bundle.using.explain import GRID, occlusion_map
from study.bundle.using.photographs import photographs
from study.predict import main
from tests.support.command import photograph
from tests.support.studies import ROOT


def run(bundle, *arguments) -> int:
    return main([str(word) for word in (bundle.folder, *arguments)])


def rows(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_photographs_of_the_study_get_the_stored_probabilities(whole_study, whole_bundle, tmp_path):
    """By way of files, as a user has them: the test split as PNG, in each engine."""
    (prepared,) = (whole_study.parent / "prepared").glob("*.parquet")
    table = read_prepared(prepared)[0].to_pylist()
    (tmp_path / "photographs").mkdir()
    for row in table:
        if row["split"] == "test":
            (tmp_path / "photographs" / f"{row['image_id']}.png").write_bytes(row["image"])
    stored = read_table(whole_study, "predictions").query("trial_id == 'search-001' and side == 'test'")
    stored = stored.set_index("image_id")["probability"]
    for engine in ("onnx", "torch"):
        out = tmp_path / f"{engine}.csv"
        assert run(whole_bundle, tmp_path / "photographs", "--out", out, "--engine", engine) == 0
        found = {row["path"].split("/")[-1].removesuffix(".png"): float(row["probability"]) for row in rows(out)}
        assert found.keys() == set(stored.index)
        assert max(abs(found[name] - stored[name]) for name in found) < 1e-5


@pytest.fixture
def folder(tmp_path):
    """Photographs of all kinds, and what is none."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    colour = photograph(1).resize((60, 40))
    colour.save(folder / "a.jpg")
    colour.convert("L").save(folder / "grey.png")
    colour.convert("CMYK").save(folder / "more" / "cmyk.jpg")
    content = (folder / "a.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no photograph")
    (folder / ".hidden.png").write_bytes(content)
    (folder / "out.png").symlink_to("/etc/hostname")
    (folder / "raw.dng").write_bytes(content)
    (folder / "linked").symlink_to(folder / "more")
    return folder


def test_bad_files_are_named_and_the_rest_is_done(whole_bundle, folder, tmp_path, capsys):
    assert run(whole_bundle, folder, "--out", tmp_path / "a.parquet") == 1
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    by_name = {row["path"].split("/")[-1]: row for row in table}
    bad = {"broken.jpg", "empty.png", "out.png", "raw.dng"}
    assert set(by_name) == {"a.jpg", "grey.png", "cmyk.jpg"} | bad
    assert {name for name, row in by_name.items() if row["error"]} == bad
    assert "leads out" in by_name["out.png"]["error"] and by_name["empty.png"]["probability"] is None
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.count("not read: ") == 4 and "broken.jpg" in printed
    assert "not searched: the linked folder" in printed


def test_a_large_photograph_is_read(whole_bundle, tmp_path):
    """Sixty megapixels; a decompression bomb is refused like any bad file."""
    Image.new("RGB", (10_000, 6_000), (200, 120, 100)).save(tmp_path / "large.jpg")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert run(whole_bundle, tmp_path / "large.jpg", tmp_path / "bomb.png", "--out", tmp_path / "a.csv") == 1
    large, bomb = rows(tmp_path / "a.csv")
    assert large["label"] in ("clean", "infected") and "too many pixels" in bomb["error"]


def test_what_is_unlike_the_training_images_is_flagged(whole_bundle, phantom_folder, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    run(whole_bundle, tmp_path / "noise.png", phantom_folder, "--out", tmp_path / "a.csv")
    far, *others = rows(tmp_path / "a.csv")
    assert far["far_from_training"] == "True"
    assert sum(row["far_from_training"] == "True" for row in others) < 0.15 * len(others)


def test_labels_and_bands_follow_the_bundle(whole_bundle, phantom_folder, tmp_path):
    run(whole_bundle, phantom_folder, "--out", tmp_path / "a.csv")
    about = whole_bundle.about
    low, high = about["uncertain_band"]["low"], about["uncertain_band"]["high"]
    for row in rows(tmp_path / "a.csv"):
        probability = float(row["probability"])
        assert row["label"] == ("infected" if probability >= about["threshold"]["value"] else "clean")
        assert row["uncertain"] == str(low <= probability <= high)


def test_occlusion_finds_the_part_that_counts():
    """A network that looks at one corner only."""

    def corner(images):
        return images[:, 0, :8, :8].astype(np.float32).mean(axis=(1, 2)) / 25, None

    pixels = np.zeros((3, 32, 32), np.uint8)
    pixels[:, :8, :8] = 255
    drops = occlusion_map(corner, pixels)
    assert drops.shape == (GRID, GRID) and drops.argmax() == 0
    assert np.abs(drops[GRID // 2 :, GRID // 2 :]).max() == 0


def test_explanations_are_written_beside_the_answers(whole_bundle, folder, tmp_path, capsys):
    assert run(whole_bundle, folder / "a.jpg", "--explain", tmp_path / "why") == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    with Image.open(tmp_path / "why" / row["explanation"]) as overlay:
        assert overlay.size == (384, 384)
    assert photographs([tmp_path]) and not any("why" in str(path) for path, _ in photographs([tmp_path]))


def test_a_folder_that_cannot_be_read_is_an_error(whole_bundle, folder, monkeypatch, capsys):
    def walk(path, onerror):
        onerror(PermissionError(13, "Permission denied", "locked"))

    monkeypatch.setattr(using_photographs.os, "walk", walk)
    assert run(whole_bundle, folder) == 2
    assert capsys.readouterr().err == "error: locked: Permission denied\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/nowhere"], "nowhere does not exist"),
        (["{tmp}/in/more", "--out", "{tmp}/a.txt"], "must end in .csv or .parquet"),
        (["{tmp}/in/more", "--out", "{tmp}/no/a.csv"], "is missing"),
        (["{tmp}/in/more", "--out", "{tmp}/in/a.csv"], "exists; choose another name, or add --force"),
        (["{tmp}/empty"], "no photographs in"),
    ],
)
def test_what_cannot_be_asked(whole_bundle, folder, tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    (folder / "a.csv").write_text("mine")
    assert run(whole_bundle, *(word.format(tmp=tmp_path) for word in arguments)) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith("error: ") and message in error
    assert (folder / "a.csv").read_text() == "mine"


def test_a_bundle_is_used_without_torch(whole_bundle, folder):
    """Nor pandas, pydantic or anything else that a study needs."""
    banned = ("torch", "timm", "sklearn", "scipy", "pandas", "pydantic", "ray", "optuna", "onnx", "matplotlib")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(%r)); import study.predict, study.generate; "
        "code = study.predict.main([%r, %r]); "
        "code += study.generate.main([%r, '--count', '2', '--out', %r]); sys.exit(code)"
    )
    code %= (banned, str(whole_bundle.folder), str(folder / "a.jpg"), str(whole_bundle.folder), str(folder / "made"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout
