"""What `study/confirm.py` refuses before anything runs, and which trials it runs again."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_utils.dataset import load_dataset
from data_utils.phantoms import render_phantoms
from data_utils.prepare import prepare
from results.tables.attempts import lost_reason
from results.tables.schema import PREDICTIONS
from results.tables.store import read_trials, write_rows
from study import confirm
from study.cluster import connect as ray_cluster
from study.commands.judging import without_row
from study.config import make_config, preset
from study.search.external import check_done_trials
from study.settings import StudySettings, write_settings
from study.trial.provenance import data_columns
from study.trial.record import Task

BASE = preset("smoke") | {"gan_batch_size": 16, "classifier_batch_size": 16}


@pytest.fixture
def study(prepared_phantoms, tmp_path, monkeypatch):
    """A study of two completed GANs, as a search leaves it; nothing may be run."""
    monkeypatch.setattr(ray_cluster.ray, "init", lambda *a, **k: pytest.fail("Ray was started"))
    shutil.copytree(prepared_phantoms.path.parent, tmp_path / "prepared")
    folder = tmp_path / "study"
    folder.mkdir()
    begin(folder, prepared_phantoms)
    for number, depth in enumerate((2, 0)):
        config = make_config(BASE | {"lstm_depth": depth})
        columns = data_columns(prepared_phantoms) | {"phase": "paper", "objective": "pareto"}
        task = Task(folder, prepared_phantoms.path, f"paper-00{number}", config, 1, 1, columns)
        measured = {"validation_auroc": 0.9 - number / 10, "frechet_distance": 90.0, "started_at": "then"}
        task.write_row("completed", None, measured)
    return folder


def begin(folder, prepared, **changes):
    settings = StudySettings("smoke", {}, "pareto", make_config(BASE | changes), ())
    write_settings(folder, settings.record(prepared))


@pytest.fixture
def refused(study, capsys):
    """Run the command; its one line of error."""

    def run(*arguments) -> str:
        assert confirm.main([str(study), "--seeds", "1", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and "Traceback" not in captured.err
        return " ".join(captured.err.split())

    return run


def photographs(root, names=("clean", "infected"), seed=0):
    """Phantoms as files; the same ones for the same seed."""
    for number, (pixels, label, lesion) in enumerate(render_phantoms(num_lesions=48, views=2, size=32, seed=seed)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"lesion{lesion.split()[1]}_{number}.png")
    return root


def test_a_dry_run_lists_the_trials(study, capsys):
    before = sorted(study.parent.rglob("*"))
    assert confirm.main([str(study), "--seeds", "2", "--fractions", "0.5", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "confirming   the GANs of 2 trials, with new seeds" in lines
    assert "    4 x real and synthetic 1, grouped split" in lines
    assert "    2 x real, 50% of the groups, grouped split" in lines
    assert max(map(len, lines)) <= 80 and sorted(study.parent.rglob("*")) == before


def test_a_dry_run_tells_the_power_from_the_searchs_classifiers(study, prepared_phantoms, capsys):
    assert confirm.main([str(study), "--fractions", "none", "--dry-run"]) == 0
    assert "power        not known: the search has too few classifiers" in capsys.readouterr().out
    labels, draws = np.arange(40) % 2, np.random.default_rng(0)
    for number, phase in enumerate(("baseline", "search", "search", "search")):
        name = f"{phase}-09{number}"
        columns = data_columns(prepared_phantoms) | {"phase": phase, "objective": "pareto"}
        task = Task(study, prepared_phantoms.path, name, make_config(BASE), 1, 1, columns)
        task.write_row("completed", None, {"threshold": 0.5, "validation_auroc": 0.8})
        rows = [
            dict.fromkeys(PREDICTIONS.names) | {
                "study": study.name, "trial_id": name, "side": "validation", "corruption": "none",
                "image_id": f"i{image}", "group": f"g{image}", "label": int(label),
                "probability": float(draws.random() / 2 + label / 3),
            }
            for image, label in enumerate(labels)
        ]  # fmt: skip
        write_rows(study / "predictions" / f"{name}.parquet", rows, PREDICTIONS)
    assert confirm.main([str(study), "--fractions", "none", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (power,) = [line for line in lines if line.startswith("power")]
    few = float(power.split()[4])
    assert confirm.main([str(study), "--fractions", "none", "--dry-run", "--judge-seeds", "20"]) == 0
    (power,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("power")]
    assert 0 < float(power.split()[4]) < few
    needed = [int(line.split()[3]) for line in lines if line.startswith("  8 points")]
    assert len(needed) == 1 and 2 <= needed[0] < 100


def test_the_number_of_judging_seeds_is_kept(refused, study, prepared_phantoms):
    columns = data_columns(prepared_phantoms) | {"phase": "judge", "num_judging_seeds": 5}
    Task(study, prepared_phantoms.path, "judge-a", make_config(BASE), 1, 1, columns).write_row("completed", None, {})
    assert "has been judged with 5" in refused("--judge-seeds", "9")


def test_judging_trials_that_ended_are_not_counted_as_left(study, prepared_phantoms, monkeypatch):
    columns, left = data_columns(prepared_phantoms) | {"phase": "judge", "num_judging_seeds": 2}, []
    reasons = {"judge-a": None, "judge-b": "GAN diverged", "judge-c": lost_reason("node died", None)}
    for name, reason in reasons.items():
        task = Task(study, prepared_phantoms.path, name, make_config(BASE), 1, 1, columns)
        task.write_row("failed" if reason else "completed", reason, {})

    def interrupted(options, trials, *others) -> bool:
        left.append(trials.num_left() - len(trials.waiting))
        return True

    monkeypatch.setattr("study.commands.confirm.run_on_ray", interrupted)
    assert confirm.main([str(study), "--seeds", "1", "--fractions", "none", "--judge-seeds", "2"]) == 130
    assert left == [3 * 2 - 2], "the one that was lost runs again"


def test_what_is_no_study(tmp_path, capsys):
    assert confirm.main([str(tmp_path / "nothing")]) == 2
    assert "nothing is not a study" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2)])
def test_an_interrupt_or_full_disk_says_that_the_same_command_continues(study, capsys, monkeypatch, error, code):
    def stop(*arguments):
        raise error

    monkeypatch.setattr("study.commands.confirm.stored_settings", stop)
    assert confirm.main([str(study)]) == code
    message = " ".join(capsys.readouterr().err.split())
    assert "finished trials are kept" in message and "run the same command again" in message
    assert "--resume" not in message  # a flag of run_sweep.py


def test_a_part_that_fills_no_batch(refused):
    message = refused("--fractions", "0.05")
    assert "5% of the groups" in message and "--fractions" in message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"training_fraction": 0.5}, "training_fraction=0.5"),
        ({"rotation": 0, "zoom": 0, "contrast": 0, "classifier_flip": False}, "augmentation"),
    ],
)
def test_a_study_without_the_arms_meaning(refused, study, prepared_phantoms, changes, word):
    begin(study, prepared_phantoms, **changes)
    assert word in refused()


def test_unknown_trials_and_missing_data(refused, study):
    assert "--trials paper-009" in refused("--trials", "paper-009")
    shutil.rmtree(study.parent / "prepared")
    assert "is missing; prepare it again" in refused()


def test_wrong_subgroups_are_found_before_anything_runs(refused, tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image_id,attribute\nnobody,heel\n", encoding="utf-8")
    assert "1 of 1 image ids are not in the data set" in refused("--fractions", "none", "--subgroups", path)


def test_external_images_that_the_study_has(refused, phantom_folder):
    assert "are in the study, too" in refused("--fractions", "none", "--test-data", phantom_folder)


def test_external_images_that_look_like_the_studys(refused, phantom_folder, tmp_path):
    other = photographs(tmp_path / "other", seed=5)
    source = next((phantom_folder / "infected").glob("*.png"))
    Image.open(source).rotate(90).save(other / "infected" / "lesion99_turned.jpg", quality=85)
    message = refused("--fractions", "none", "--test-data", other)
    assert "1 of its" in message and "look like images of the study" in message and "lesion99_turned.jpg" in message


def test_external_classes_of_other_names(refused, tmp_path):
    other = photographs(tmp_path / "other", ("healthy", "ulcer"), seed=5)
    assert "nowhere" in refused("--dry-run", "--fractions", "none", "--test-data", tmp_path / "nowhere")
    message = refused("--fractions", "none", "--test-data", other)
    assert "its classes are healthy and ulcer, the study's clean and infected" in message


def test_done_trials_must_have_seen_the_external_images(refused, study, prepared_phantoms, tmp_path):
    other = photographs(tmp_path / "other", seed=5)
    config = make_config(BASE | {"seed": 1})
    columns = data_columns(prepared_phantoms) | {"phase": "confirm"}
    Task(study, prepared_phantoms.path, "confirm-a", config, 1, 1, columns).write_row("completed", None, {})
    message = refused("--fractions", "none", "--test-data", other)
    assert "1 trials are done and were not tested on it, such as confirm-a" in message

    prepared = prepare(other, study.parent / "prepared", image_size=32, split_protocol="none")
    row = dict.fromkeys(PREDICTIONS.names) | {"trial_id": "confirm-a", "side": "external"}
    rows = [row | {"image_id": image_id} for image_id in load_dataset(prepared.path, 32).image_ids]
    write_rows(study / "predictions" / "confirm-a.parquet", rows, PREDICTIONS)
    check_done_trials(study, prepared.path, read_trials(study), "grouped")


def test_a_trial_lost_to_a_machine_runs_again_twice():
    lost = [None]
    for _ in range(3):
        lost.append(lost_reason("node died", lost[-1]))
    trials = pd.DataFrame({"trial_id": list("abcde"), "reason": ["GAN diverged", *lost]}, dtype=object)
    proposals = [SimpleNamespace(trial_id=name) for name in "abcdef"]
    assert [p.trial_id for p in without_row(proposals, trials)] == ["c", "d", "f"]


def test_an_external_test_set_may_be_small(tmp_path):
    for path in sorted(photographs(tmp_path / "other", seed=5).rglob("*.png"))[2:-2]:
        path.unlink()
    prepared = prepare(tmp_path / "other", tmp_path / "prepared", image_size=32, split_protocol="none")
    assert prepared.counts["test"] == (2, 2)
