"""A bundle that was altered, is foreign, or leads elsewhere is refused by name."""

import json

import onnx
import pytest

from study.bundle.folder import open_bundle, write_manifest
from study.bundle.networks import load_classifier, load_generator
from study.errors import ConfigError


def edit_manifest(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_opens_wherever_it_lies(bundle_folder, tmp_path):
    bundle = open_bundle(bundle_folder.rename(tmp_path / "moved"))
    assert bundle.has_generator and bundle.about["trial_id"] == "search-001"


def test_a_flipped_bit_in_any_file_is_found(bundle_folder):
    for path in sorted(bundle_folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ConfigError, match=path.name):
            open_bundle(bundle_folder)
        path.write_bytes(content)
    open_bundle(bundle_folder)


def test_an_entry_that_leads_out_is_refused(bundle_folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    for name in ("../secret", str(tmp_path / "secret"), "notes.txt"):
        edit_manifest(bundle_folder, lambda m, name=name: m["files"].update({name: {"sha256": "0", "bytes": 6}}))
        with pytest.raises(ConfigError, match=r"is no file of a bundle"):
            open_bundle(bundle_folder)
        edit_manifest(bundle_folder, lambda m, name=name: m["files"].pop(name))
    open_bundle(bundle_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "bundle version 2"),
        (lambda m: m.update(format="x"), "not the manifest of a bundle"),
        (lambda m: m["files"].pop("classifier.onnx"), "does not list classifier.onnx"),
        (lambda m: m["files"].pop("generator.onnx"), "does not list generator.onnx"),
        (lambda m: m.update(files=[1]), "list of files cannot be read"),
    ],
)
def test_a_foreign_manifest_is_refused(bundle_folder, change, message):
    edit_manifest(bundle_folder, change)
    with pytest.raises(ConfigError, match=message):
        open_bundle(bundle_folder)


def test_a_folder_or_file_that_is_missing(bundle_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere is not a bundle"):
        open_bundle(tmp_path / "nowhere")
    (bundle_folder / "classifier.onnx").unlink()
    with pytest.raises(ConfigError, match=r"classifier.onnx cannot be read"):
        open_bundle(bundle_folder)


def test_an_onnx_file_of_another_model_is_refused_even_where_the_manifest_fits(bundle_folder):
    """Such as a file of another export that somebody copied in and listed."""
    model = onnx.load(bundle_folder / "classifier.onnx")
    onnx.helper.set_model_props(model, {"weights_sha256": "0" * 64})
    onnx.save(model, bundle_folder / "classifier.onnx")
    (bundle_folder / "generator.onnx").write_bytes((bundle_folder / "classifier.onnx").read_bytes())
    (bundle_folder / "classifier_int8.onnx").write_bytes(b"no network")
    (bundle_folder / "manifest.json").unlink()
    write_manifest(bundle_folder)
    bundle = open_bundle(bundle_folder)
    for load in (load_classifier, load_generator):
        with pytest.raises(ConfigError, match="of another model"):
            load(bundle)
    with pytest.raises(ConfigError, match=r"classifier_int8\.onnx cannot be run"):
        load_classifier(bundle, "int8")
