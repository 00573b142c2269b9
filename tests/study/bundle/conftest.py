"""A study of two tiny trials, run without Ray, and the bundle of the one that has a GAN."""

import shutil
from pathlib import Path

import pytest
import torch

from data_utils.prepare import prepare
from study.bundle.exporting.export import Wanted, export
from study.bundle.folder import Bundle, open_bundle
from study.config import make_config
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task
from tests.support.features import PixelQuality
from tests.support.report_study import write_table

LICENCE = {"weights": "cc-by-4.0", "data": None}
TRIALS = {"baseline-000": ("baseline", {"synthetic_ratio": 0.0}), "search-001": ("search", {})}


@pytest.fixture(scope="session")
def whole_study(phantom_folder, tiny_settings, tmp_path_factory) -> Path:
    """Do not write into it: copy it with `study`."""
    root = tmp_path_factory.mktemp("runs")
    prepared = prepare(phantom_folder, root / "prepared", image_size=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.gan.train.GanQuality", PixelQuality)
        for trial_id, (phase, changes) in TRIALS.items():
            config = make_config(tiny_settings | changes)
            columns = data_columns(prepared) | {"phase": phase, "objective": "auroc"}
            task = Task(root / "study", prepared.path, trial_id, config, 1, torch.get_num_threads(), columns)
            row = execute(task, lambda entry: None, torch.device("cpu"))
            assert row["status"] == "completed", row["reason"]
    audited(root / "study", row["gan_key"], "no copying, collapse or wrong labels found")
    return root / "study"


def audited(study: Path, gan_key: str, verdict: str) -> None:
    row = {"gan_key": gan_key, "feature_extractor": "efficientnet_lite0", "verdict": verdict}
    write_table(study, "generator_metrics", [row], gan_key)


@pytest.fixture
def study(whole_study, tmp_path) -> Path:
    shutil.copytree(whole_study.parent, tmp_path / "runs")
    return tmp_path / "runs" / whole_study.name


@pytest.fixture(scope="session")
def whole_bundle(whole_study, tmp_path_factory) -> Bundle:
    """Do not write into it: copy it with `bundle_folder`."""
    out = tmp_path_factory.mktemp("bundle") / "search-001"
    wanted = Wanted(whole_study, None, "search-001", LICENCE)
    return open_bundle(export(wanted, out, force=False, announce=lambda line: None))


@pytest.fixture
def bundle_folder(whole_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(whole_bundle.folder, tmp_path / "bundle"))
