"""Synthetic images: each can be made again alone, says what it is, and none takes another's place."""

import csv
import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.inception import ExtractorUnavailable
from study.bundle.using.synthetic import BLOCK, Request, synthetic_images
from study.generate import main
from tests.support.features import coarse_pixels


def run(bundle, out, *arguments) -> int:
    return main([str(word) for word in (bundle.folder, "--out", out, *arguments)])


def refused(capsys, *arguments) -> str:
    capsys.readouterr()  # progress of an earlier command
    assert run(*arguments) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("error: ") and "Traceback" not in message
    return message


def rows(out) -> list[dict]:
    with open(out / "images.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_an_image_is_made_again_alone(whole_bundle, tmp_path):
    assert run(whole_bundle, tmp_path / "many", "--count", 50, "--seed", 7, "--label", "infected") == 0
    assert run(whole_bundle, tmp_path / "one", "--count", 1, "--start", 41, "--seed", 7, "--label", "1") == 0
    (one,) = rows(tmp_path / "one")
    assert one == rows(tmp_path / "many")[41] and one["index"] == "41"
    assert (tmp_path / "one" / one["file"]).read_bytes() == (tmp_path / "many" / one["file"]).read_bytes()


@pytest.mark.parametrize("more", [[], ["--truncation", 0.5], ["--interpolate", 5]])
def test_files_say_what_they_are(whole_bundle, tmp_path, more):
    assert run(whole_bundle, tmp_path / "out", "--count", 5, *more) == 0
    listed = rows(tmp_path / "out")
    assert [row["class_name"] for row in listed] == ["clean", "infected"] * 2 + ["clean"]
    for row in listed:
        with Image.open(tmp_path / "out" / row["file"]) as image:
            assert hashlib.sha256(image.tobytes()).hexdigest() == row["sha256"]
            assert image.info["synthetic"] == "true" and image.info["index"] == row["index"]
            assert image.info["generator_sha256"] == whole_bundle.hashes["generator.safetensors"]
            assert "trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
    record = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert record["synthetic"] and record["finished"] and record["seed"] == 0 and record["count"] == 5


def test_parquet_holds_the_same_images(whole_bundle, tmp_path):
    assert run(whole_bundle, tmp_path / "png", "--count", 600) == 0
    assert run(whole_bundle, tmp_path / "parquet", "--count", 600, "--format", "parquet") == 0
    table = pq.read_table(tmp_path / "parquet" / "images.parquet")
    assert table.schema.metadata[b"synthetic"] == b"true"
    assert table["sha256"].to_pylist() == [row["sha256"] for row in rows(tmp_path / "png")]
    assert len(set(table["sha256"].to_pylist())) > 1
    assert table["image"][0].as_py().startswith(b"\x89PNG")


def test_images_are_made_one_block_at_a_time():
    made = []

    def generator(z, labels):
        made.append(len(z))
        return np.zeros((len(z), 3, 2, 2), np.uint8)

    stream = synthetic_images(generator, 4, Request(count=10**6))
    assert next(stream)[:2] == (0, 0) and made == [BLOCK]
    indices = [index for index, _, _ in synthetic_images(generator, 4, Request(count=40, start=30))]
    assert indices == list(range(30, 70)) and set(made) == {BLOCK}


def test_nothing_is_overwritten_without_force(whole_bundle, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(whole_bundle, out, "--count", 3) == 0
    assert "--force" in refused(capsys, whole_bundle, out, "--count", 1)
    assert run(whole_bundle, out, "--count", 1, "--force") == 0
    assert len(rows(out)) == 1 and len(list(out.rglob("*.png"))) == 1
    (out / "generation.json").unlink()
    assert "something else wrote it" in refused(capsys, whole_bundle, out, "--count", 1, "--force")
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(capsys, whole_bundle, tmp_path / "file", "--count", 1, "--force")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", 0], "--count 0 is not within 1 to"),
        (["--count", 10_000_000], "--start"),
        (["--count", 1, "--label", "ulcer"], "it has 0 = clean and 1 = infected"),
        (["--count", 1, "--seed", -1], "--seed -1"),
        (["--count", 1, "--truncation", 0], "--truncation 0"),
        (["--count", 1, "--interpolate", 1], "--interpolate 1"),
        (["--count", 1, "--engine", "cuda"], "finds no GPU"),
    ],
)
def test_what_cannot_be_made(whole_bundle, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert message in refused(capsys, whole_bundle, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_the_audit_compares_with_the_training_images(whole_bundle, whole_study, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(whole_bundle, out, "--count", 30, "--audit", whole_study) == 0
    assert "audit        " in capsys.readouterr().out
    verdicts = {row["verdict"] for row in json.loads((out / "audit.json").read_text())}
    assert verdicts
    message = refused(capsys, whole_bundle, tmp_path / "few", "--count", 4, "--audit", whole_study)
    assert "needs at least" in message and not (tmp_path / "few").exists()


def test_images_of_one_class_are_held_against_that_class_alone(
    whole_bundle, whole_study, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("study.bundle.using.audit.build_extractors", lambda *arguments: [coarse_pixels()])
    assert run(whole_bundle, tmp_path / "out", "--count", 20, "--label", 1, "--audit", whole_study) == 0
    (row,) = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert row["label"] == 1 and f"audit        {row['verdict']}, but labels were not" in capsys.readouterr().out


def test_an_audit_without_the_weights_of_a_network_is_refused(whole_bundle, whole_study, tmp_path, capsys, monkeypatch):
    def unavailable(*arguments):
        raise ExtractorUnavailable("weights are not installed")

    monkeypatch.setattr("study.gan_audit.study.build_feature_extractor", unavailable)
    message = refused(capsys, whole_bundle, tmp_path / "out", "--count", 30, "--audit", whole_study)
    assert message == "error: weights are not installed" and not (tmp_path / "out").exists()
