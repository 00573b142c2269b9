"""The audit of a study: which GANs, what is written, once, and what the command says."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from data_utils.dataset import load_dataset
from results.stats.evidence import verdict_in_words
from results.tables.schema import COLLAPSED, HONEST, ONE_CLASS
from results.tables.store import read_table
from study import audit
from study.config import SYSTEMS, make_config, preset
from study.gan.folder import GanFolder
from study.gan.sampling import load_generator, sample_images
from study.gan_audit.study import audit_study, build_extractors, data_key, gan_rows, impartial
from study.trial.record import row_config
from tests.support.features import coarse_pixels
from tests.support.studies import change_row, trained_study

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(prepared_phantoms, tiny_settings, tmp_path_factory):
    """A study with a GAN of the search and another of two confirming trials."""
    confirming = {"seed": 1, "synthetic_ratio": 0.5}, {"phase": "confirm", "confirms": "search-000"}
    trials = {"search-000": ({"synthetic_ratio": 0.5}, {}), "confirm-001": confirming, "confirm-002": confirming}
    return trained_study(tmp_path_factory.mktemp("runs"), prepared_phantoms, tiny_settings, trials)


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """A copy that a test may spoil, audited in coarse pixels."""
    shutil.copytree(finished.parent, tmp_path / "runs")
    monkeypatch.setattr("study.gan_audit.study.build_extractors", lambda own, folder, device: [coarse_pixels()])
    return tmp_path / "runs" / "study"


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_confirmed_gans_are_audited_once(study):
    said = []
    audit_study(study, said.append)
    metrics, neighbours, attributes = (read_table(study, n) for n in ("generator_metrics", "neighbours", "attributes"))
    assert metrics["trial_id"].tolist() == ["confirm-001"] * 3 and set(metrics["confirms"]) == {"search-000"}
    assert set(metrics["seed"]) == {1} and set(metrics["study"]) == {"study"}
    assert len(neighbours) == metrics.loc[metrics["label"].isna(), ["num_fake", "num_real"]].sum(axis=1).item()
    dataset = load_dataset(next((study.parent / "prepared").glob("*.parquet")), 32)
    tones = attributes.groupby(["kind", "side"], dropna=False).size()
    assert tones["real"].to_dict() == dict(zip(*np.unique(dataset.split.astype(str), return_counts=True), strict=True))
    assert tones["synthetic"].sum() == metrics["num_fake"].max()
    first, features, audited = said
    assert "1 GANs, of which 0 are audited" in first and "real images" in features and "confirm-001" in audited

    files = {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file()}
    audit_study(study, said.append)
    assert "of which 1 are audited" in said[3] and len(said) == 4
    assert files == {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file()}


def test_findings_of_several_networks_are_said_as_one():
    assert verdict_in_words({"lite0": HONEST, "lite1": HONEST}) == HONEST
    verdicts = {"lite0": f"{COLLAPSED}; {ONE_CLASS}", "lite1": COLLAPSED}
    assert verdict_in_words(verdicts) == f"{COLLAPSED}; {ONE_CLASS} (in features of lite0)"
    assert verdict_in_words({"lite0": HONEST, "lite1": ONE_CLASS}) == f"{ONE_CLASS} (in features of lite1)"


def test_pictures_are_of_synthetic_images_alone(study, capsys):
    audit_study(study)
    metrics, neighbours = read_table(study, "generator_metrics"), read_table(study, "neighbours")
    folder = study / "gans" / metrics["gan_key"].iloc[0]
    config = row_config(gan_rows(study, False)[0])
    generator = load_generator(config, GanFolder(folder), torch.device("cpu"))
    labels = load_dataset(next((study.parent / "prepared").glob("*.parquet")), 32).side("validation").labels
    images = sample_images(generator, labels, config, "audit")
    synthetic = neighbours[neighbours["kind"] == "synthetic"].reset_index(drop=True)
    closest = pixels(folder / "closest.png")
    for number in range(8):
        place = synthetic.index[synthetic["number"] == number].item()
        left = 2 + number * 34
        assert torch.equal(closest[:, 2:34, left : left + 32], images[place])
    assert pixels(folder / "interpolation.png").shape == (3, 2 * 34 + 2, 8 * 34 + 2)


def test_all_means_the_searchs_gans_and_parts_of_the_training_set(study):
    audit_study(study, [].append)
    cached = {path: path.read_bytes() for path in (study.parent / "prepared").glob("features-*.safetensors")}
    change_row(study, "search-000", training_fraction=0.5)
    audit_study(study, [].append, everything=True)
    metrics = read_table(study, "generator_metrics").query("label.isna()").set_index("trial_id")
    assert sorted(metrics.index) == ["confirm-001", "search-000"]
    assert cached == {path: path.read_bytes() for path in cached}  # the images of a part were known


def test_a_pretrained_gan_is_audited_against_all_images_that_it_has_seen(study):
    change_row(study, "search-000", training_fraction=0.5, pretraining="unlabelled")
    audit_study(study, [].append, everything=True)
    assert set(read_table(study, "generator_metrics")["trial_id"]) == {"confirm-001", "search-000"}
    row = gan_rows(study, everything=True)[-1] | {"training_fraction": 0.5}
    keys = {data_key(row | {"pretraining": pretraining}) for pretraining in ("none", "unlabelled")}
    assert len(keys) == 2  # their references differ


@pytest.mark.parametrize("own", ["grouped", "random"])
def test_gans_of_the_studys_own_split_come_first(study, own):
    """Its real images are those whose subgroups are told."""
    other = {"grouped": "random", "random": "grouped"}[own]
    change_row(study, "search-000", split_protocol=own)
    change_row(study, "confirm-001", split_protocol=other)
    assert [row["split_protocol"] for row in gan_rows(study, everything=True)] == [own, other]


def test_a_gan_whose_folder_is_gone_is_left_out(study):
    change_row(study, "search-000", phase="confirm")
    shutil.rmtree(study / "gans" / pq.read_table(study / "trials" / "search-000.parquet")["gan_key"][0].as_py())
    assert [row["trial_id"] for row in gan_rows(study, everything=True)] == ["confirm-001"]


def test_the_command_prints_verdicts(study, capsys):
    assert audit.main([str(study), "--all"]) == 0
    printed = capsys.readouterr().out
    assert "search-000" in printed and "confirm-001" in printed and "Features of coarse pixels" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert audit.main([str(study)]) == 0


def test_a_users_mistakes(study, tmp_path, capsys):
    def refused(*arguments):
        assert audit.main(list(map(str, arguments))) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "is not a study" in refused(tmp_path)
    change_row(study, "confirm-001", split_protocol="random")
    change_row(study, "confirm-002", training_fraction=0.5)
    assert "study/confirm.py first, or add --all" in refused(study)
    shutil.rmtree(study.parent / "prepared")
    message = refused(study, "--all")
    assert message.startswith("error: the prepared data")


@pytest.mark.parametrize(
    ("inception", "lite1", "measure_fid", "expected"),
    [
        (True, False, True, ["efficientnet_lite0", "inception"]),
        (True, True, True, ["efficientnet_lite0", "efficientnet_lite1", "inception"]),
        (True, False, False, ["efficientnet_lite0"]),
        (False, False, True, ["efficientnet_lite0"]),
    ],
)
def test_every_extractor_at_hand_audits(monkeypatch, tmp_path, inception, lite1, measure_fid, expected):
    monkeypatch.setattr("study.gan_audit.study.has_inception", lambda weights: inception)
    monkeypatch.setattr("study.gan_audit.study.has_efficientnet_lite", lambda number: lite1)
    monkeypatch.setattr("study.gan_audit.study.build_feature_extractor", lambda name, weights, device: name)
    config = make_config(preset("smoke") | {"measure_fid": measure_fid})
    assert build_extractors(config, tmp_path, torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, ["efficientnet_lite0", "efficientnet_lite1", "inception"]),
        (SYSTEMS["projected"], ["efficientnet_lite0", "inception"]),
        (
            SYSTEMS["projected"] | {"critic_features": "efficientnet_lite0", "feature_extractor": "inception"},
            ["efficientnet_lite1", "inception"],
        ),
    ],
)
def test_no_gan_is_judged_in_the_features_that_its_critic_saw(fields, left):
    config = make_config(preset("smoke") | fields)
    names = ("efficientnet_lite0", "efficientnet_lite1", "inception")
    references = [SimpleNamespace(extractor=SimpleNamespace(name=name)) for name in names]
    assert [one.extractor.name for one in impartial(references, config)] == left
