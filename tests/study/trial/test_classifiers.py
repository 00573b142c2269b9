"""Which classifiers a study keeps."""

import pytest
import torch

from study.errors import ConfigError
from study.storage.tensors import write_tensors
from study.trial.classifiers import (
    KEPT,
    classifier_file,
    forget_weaker_classifiers,
    keep_classifier,
    read_classifier,
)
from tests.support.report_study import write_table


def ended(study, trial_id, auroc, phase="search"):
    trained(study, trial_id, auroc)
    row = {"trial_id": trial_id, "phase": phase, "status": "completed", "validation_auroc": auroc}
    write_table(study, "trials", [row], trial_id)


def trained(study, trial_id, value):
    file = study / "trained.safetensors"
    write_tensors(file, {"weight": torch.full((2,), value)}, "classifier")
    keep_classifier(study, trial_id, file)


def kept(study):
    return {path.stem for path in (study / "classifiers").iterdir()}


def test_the_best_by_validation_and_the_baseline_stay(tmp_path):
    ended(tmp_path, "baseline-000", 0.1, "baseline")
    scores = [0.5, 0.9, 0.6, 0.8, 0.7, 0.95, 0.55, *(0.96 + 0.001 * number for number in range(KEPT - 5))]
    for number, auroc in enumerate(scores):
        ended(tmp_path, f"search-{number:03d}", auroc)
        forget_weaker_classifiers(tmp_path)
        assert len(kept(tmp_path)) <= KEPT + 1
    best = [1, 2, 3, 4, 5, *range(7, len(scores))]
    assert kept(tmp_path) == {"baseline-000", *(f"search-{number:03d}" for number in best)}
    assert read_classifier(tmp_path, "search-005")["weight"][0] == pytest.approx(0.95)


def test_a_classifier_whose_row_is_still_to_come_stays(tmp_path):
    for number in range(KEPT):
        ended(tmp_path, f"search-{number:03d}", 0.9)
    trained(tmp_path, "search-999", 0.0)
    forget_weaker_classifiers(tmp_path)
    assert len(kept(tmp_path)) == KEPT + 1


def test_a_missing_or_damaged_classifier_is_refused_with_the_way_out(tmp_path):
    ended(tmp_path, "search-000", 0.9)
    with pytest.raises(ConfigError, match=r"search-001 was not kept.*search-000.*--train-again"):
        read_classifier(tmp_path, "search-001")
    content = bytearray(classifier_file(tmp_path, "search-000").read_bytes())
    content[-1] ^= 1
    classifier_file(tmp_path, "search-000").write_bytes(content)
    with pytest.raises(ConfigError, match=r"search-000.safetensors is damaged.*--train-again"):
        read_classifier(tmp_path, "search-000")
