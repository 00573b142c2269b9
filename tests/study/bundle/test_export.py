"""What an export writes, and what it refuses."""

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from data_utils.dataset import load_dataset
from results.tables.schema import TABLES
from results.tables.store import read_part, read_table, write_rows
from study.bundle import folder
from study.bundle.exporting.card import model_card, safe
from study.bundle.folder import open_bundle
from study.bundle.networks import load_classifier, load_generator, sigmoid
from study.bundle.torch_networks import rebuilt_classifier
from study.config import CLASSIFIERS, make_config
from study.diagnosis.train import new_classifier
from study.errors import ConfigError
from study.export import main
from study.trial.again import train_again
from study.trial.choice import choose_row
from study.trial.classifiers import read_classifier


def change(study, table, **columns):
    """Change columns of the rows of the trial with a GAN in a table that holds them in one file."""
    (path,) = [path for path in (study / table).glob("*.parquet") if path.stem != "baseline-000"]
    rows = read_part(path, TABLES[table]).to_pylist()
    write_rows(path, [row | columns for row in rows], TABLES[table])


def refused(capsys, *arguments) -> str:
    assert main([str(word) for word in arguments]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("error: ") and "Traceback" not in message
    return message


def test_probabilities_equal_the_table_in_every_engine(whole_study, whole_bundle):
    """From PyTorch and from ONNX, for the whole of validation and test."""
    prepared = whole_study.parent / "prepared"
    dataset = load_dataset(next(prepared.glob("*.parquet")), 32)
    table = read_table(whole_study, "predictions").query("trial_id == 'search-001' and corruption == 'none'")
    assert set(table["side"]) == {"validation", "test"}
    for side, rows in table.groupby("side"):
        images = dataset.side(side)
        stored = rows.set_index("image_id")["probability"].loc[list(images.image_ids)].to_numpy()
        for engine in ("torch", "onnx"):
            logits, _ = load_classifier(whole_bundle, engine)(images.images.numpy())
            assert np.abs(sigmoid(logits) - stored).max() < 1e-5, (side, engine)
        logits, _ = load_classifier(whole_bundle, "int8")(images.images.numpy())
        assert np.abs(sigmoid(logits) - stored).max() < 0.1


def test_an_answer_in_integers_does_not_depend_on_the_other_photographs(whole_study, whole_bundle):
    images = load_dataset(next((whole_study.parent / "prepared").glob("*.parquet")), 32).images[:16].numpy()
    classify = load_classifier(whole_bundle, "int8")
    together, alone = classify(images)[0], [classify(images[place : place + 1])[0][0] for place in range(16)]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("count", [1, 5])
def test_onnx_equals_pytorch_for_any_number_of_images(whole_bundle, count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    answers = [load_classifier(whole_bundle, engine)(images) for engine in ("torch", "onnx")]
    for one, other in zip(*answers, strict=True):
        assert np.abs(one - other).max() < 1e-4
    z, labels = rng.standard_normal((count, 8), dtype=np.float32), np.arange(count) % 2
    one, other = (load_generator(whole_bundle, engine)(z, labels).astype(int) for engine in ("torch", "onnx"))
    assert np.abs(one - other).max() <= 1  # of 255: a rounding on the edge


def test_the_card_says_what_it_must_and_a_hub_can_read_it(whole_bundle):
    text = (whole_bundle.folder / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "cc-by-4.0" and card.data.pipeline_tag == "image-classification"
    (auroc, *_) = card.data.eval_results
    assert auroc.metric_type == "roc_auc"
    assert auroc.metric_value == pytest.approx(metric(whole_bundle, "test", "auroc"), abs=1e-6)
    for phrase in (
        "Not a medical device", "partly luck", "no copying, collapse or wrong labels found", "near-copy in training",
        "Photographs: not stated", "Intended use", "Subgroups", "Limits",
    ):  # fmt: skip
        assert phrase in " ".join(text.split()), phrase


def metric(bundle, side, name):
    return next(m["value"] for m in bundle.about["metrics"] if (m["side"], m["metric"]) == (side, name))


def test_a_confirmation_gives_the_intervals(study, whole_bundle):
    row = {"side": "test", "corruption": "none", "metric": "auroc", "value": 0.91, "ci_low": 0.85, "ci_high": 0.95,
           "num_seeds": 5, "num_images": 14, "num_groups": 7, "subgroup": None}  # fmt: skip
    tone = row | {"subgroup": "tan (ITA estimate)", "ci_low": None, "ci_high": None}
    text = model_card(whole_bundle.about | {"confirmation": [row, tone]})
    assert "| auroc | 0.910 | 0.850 to 0.950 | 14 | 7 |" in text and "5 new seeds" in text
    assert "| tan (ITA estimate) | auroc | 0.910 | - | 14 |" in text
    assert "partly luck" not in text
    assert yaml.safe_load(text.split("---")[1])["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.91


def test_a_class_name_cannot_write_the_card(whole_bundle):
    evil = "x\n---\n# <script>alert(1)</script> [a](b)"
    text = model_card(whole_bundle.about | {"class_names": ["clean", evil]})
    assert "<script>" not in text.replace("\\<script\\>", "") and "\n# \\<" not in text
    assert safe("a|b") == r"a\|b"


def test_a_trial_without_a_gan_is_a_bundle_without_a_generator(whole_study, tmp_path, capsys):
    assert main([str(whole_study), "--trial", "baseline-000", "--out", str(tmp_path / "b")]) == 0
    assert "generator    none" in (said := capsys.readouterr().out) and "is the best with a GAN" in said
    bundle = open_bundle(tmp_path / "b")
    assert not bundle.has_generator and "there is no generator" in (tmp_path / "b" / "README.md").read_text()
    assert "license_name: not-stated" in (tmp_path / "b" / "README.md").read_text()


def test_what_is_not_exported(study, tmp_path, capsys):
    out = ("--out", tmp_path / "b")
    assert "is not a study" in refused(capsys, tmp_path, *out)
    assert "no trial 'search-9'; completed are" in refused(capsys, study, "--trial", "search-9", *out)
    for status in ("failed", "pruned"):
        change(study, "trials", status=status, reason="why")
        message = refused(capsys, study, "--trial", "search-001", *out)
        assert f"search-001 is {status} (why)" in message and "baseline-000" in message
    change(study, "trials", status="completed", reason=None)
    (study / "classifiers" / "search-001.safetensors").rename(study / "classifiers" / "x.safetensors")
    assert "was not kept" in refused(capsys, study, "--trial", "search-001", *out)
    (study / "classifiers" / "baseline-000.safetensors").rename(study / "classifiers" / "search-001.safetensors")
    message = refused(capsys, study, "--trial", "search-001", *out)
    assert "other probabilities than the table predictions" in message
    assert not (tmp_path / "b").exists() or not any((tmp_path / "b").iterdir())


def test_a_gan_that_copies_is_exported_only_on_request(study, whole_bundle, tmp_path, capsys):
    change(study, "generator_metrics", verdict="copies training images")
    command = (study, "--trial", "search-001", "--out", tmp_path / "b")
    assert "copies training images" in refused(capsys, *command)
    about = whole_bundle.about | {"exported_although_it_copies": True}
    assert "WARNING: the audit found" in model_card(about)


def test_nothing_is_overwritten_without_force(study, tmp_path, capsys):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    command = (study, "--trial", "search-001", "--out", out)
    assert "is not empty" in refused(capsys, *command)
    assert "something else wrote it" in refused(capsys, *command, "--force")
    (out / folder.MANIFEST).write_text('{"name": "of a web page"}')
    assert "something else wrote it" in refused(capsys, *command, "--force")
    assert (out / "thesis.txt").read_text() == "years of work"


def test_a_bundle_stays_until_there_is_another(study, bundle_folder, capsys):
    other = study / "classifiers" / "baseline-000.safetensors"
    other.rename(study / "classifiers" / "search-001.safetensors")
    before = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}
    message = refused(capsys, study, "--trial", "search-001", "--out", bundle_folder, "--force")
    assert "delete" in message and "search-001.safetensors and add --train-again" in " ".join(message.split())
    assert {path.name: path.read_bytes() for path in bundle_folder.iterdir()} == before


def test_a_bundle_takes_the_place_of_another_within_its_folder(study, bundle_folder):
    """Which may be a mounted disk."""
    place, before = bundle_folder.stat().st_ino, {path.name for path in bundle_folder.iterdir()}
    (bundle_folder / "of_an_earlier_version.bin").write_bytes(b"old")
    assert main([str(study), "--trial", "search-001", "--out", str(bundle_folder), "--force"]) == 0
    assert bundle_folder.stat().st_ino == place and {path.name for path in bundle_folder.iterdir()} == before


def test_no_other_gan_is_trained_for_a_classifier(study, monkeypatch):
    (study / "classifiers" / "search-001.safetensors").unlink()
    monkeypatch.setattr("study.trial.again.gan_code_version", lambda: "other")
    with pytest.raises(ConfigError, match="was trained with other code than is here"):
        train_again(study, choose_row(study, None, "search-001"))


def test_another_salt_and_a_missing_gan_are_told(study, tmp_path, capsys):
    (study / "gans").rename(study / "elsewhere")
    assert "copy the study's folder gans" in refused(capsys, study, "--trial", "search-001", "--out", tmp_path / "a")
    path = study / "predictions" / "search-001.parquet"
    rows = read_part(path, TABLES["predictions"]).to_pylist()
    write_rows(path, [row | {"image_id": f"other {row['image_id']}"} for row in rows], TABLES["predictions"])
    assert "prepared again with another salt" in refused(
        capsys, study, "--trial", "search-001", "--out", tmp_path / "b"
    )


def test_an_exported_efficientnet_sees_images_as_the_studys_does(tiny_settings):
    """Its weights hold neither mean nor deviation of the pixels that it was pretrained on."""
    pretrained = CLASSIFIERS["efficientnet_lite0"] | {"image_size": 64}
    config = make_config(tiny_settings | pretrained)
    trained = new_classifier(config).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rebuilt = rebuilt_classifier(config, trained.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(images)[0], trained(images))


def test_a_classifier_that_was_not_kept_is_trained_again(study, pixel_quality):
    file = study / "classifiers" / "search-001.safetensors"
    before = read_classifier(study, "search-001")
    file.unlink()
    train_again(study, choose_row(study, None, "search-001"))
    after = read_classifier(study, "search-001")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_card_says_how_far_onnx_runtime_is_from_the_stored_predictions(whole_bundle):
    assert 0 <= whole_bundle.about["classifier"]["onnx_table_difference"] < 1e-5  # of a trial in float32
    about = whole_bundle.about | {"config": whole_bundle.about["config"] | {"precision": "bfloat16"}}
    about["classifier"] = about["classifier"] | {"onnx_table_difference": 0.0088}
    assert "ONNX Runtime 8.8e-03 (the study computed in bfloat16" in model_card(about)
    assert "bfloat16, ONNX" not in model_card(whole_bundle.about)
