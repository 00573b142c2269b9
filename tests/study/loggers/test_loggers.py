"""Ended trials reach each logger once, and no fault of a logger reaches the study."""

import socket
import sys
import time
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from results.tables.attempts import lost_reason
from study.commands import sweep
from study.config import make_config, preset
from study.errors import ConfigError
from study.flags.parsers import LOGGER_NAMES, sweep_parser
from study.gan.folder import GanFolder
from study.loggers.exporting import exporting
from study.loggers.targets import LOGGERS, refuse_missing, study_id
from study.trial.record import Task

SHARED = {"phase": "search", "is_sample_data": True, "started_at": "2026-01-01T10:00:00+00:00"}
REPORTS = [
    {"stage": "gan", "epoch": 5, "seconds": 3.0, "frechet_distance": 200.0},
    {"stage": "gan", "epoch": 10, "seconds": 6.0, "frechet_distance": 150.0},
    {"stage": "classifier", "epoch": 1, "seconds": 1.0, "validation_auroc": 0.75},
]


@pytest.fixture
def study(tmp_path) -> Path:
    return tmp_path / "study 1"


def end_trial(study: Path, trial_id: str, status: str = "completed", reason: str | None = None) -> None:
    """Write what a trial leaves behind."""
    config = make_config(preset("smoke") | {"lstm_depth": 3})
    task = Task(study, study, trial_id, config, 1, 1, SHARED)
    gan = GanFolder(study / "gans" / "aa")
    gan.path.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), "red").save(gan.samples)
    task.write_history(REPORTS)
    measured = {"test_auroc": 0.8, "frechet_distance": 150.0, "gan_key": gan.key}
    task.write_row(status, reason, measured if status == "completed" else {})


def export(study: Path, *names: str) -> list[str]:
    """What was announced."""
    lines: list[str] = []
    with exporting(study, list(names), lines.append):
        pass
    return lines


@pytest.fixture
def recorded(monkeypatch) -> list[str]:
    """The ids that a logger in the place of wandb has got."""
    got: list[str] = []
    monkeypatch.setitem(LOGGERS, "wandb", lambda folder, trial: got.append(trial.trial_id))
    return got


def test_every_name_of_the_flag_has_a_logger():
    assert tuple(LOGGERS) == LOGGER_NAMES
    assert sweep_parser().parse_args(["--log", "wandb", "--log", "mlflow"]).log == ["wandb", "mlflow"]


def test_a_trial_is_exported_once_and_a_lost_one_when_it_has_ended(study, recorded):
    assert export(study, "wandb") == [] and recorded == [], "a study without trials"
    end_trial(study, "search-000")
    end_trial(study, "search-001", "failed", lost_reason("gone", None))
    end_trial(study, "search-002", "failed", "the critic's loss is not finite")
    export(study, "wandb")
    end_trial(study, "search-001")
    export(study, "wandb")
    assert recorded == ["search-000", "search-002", "search-001"]


def test_trials_are_exported_while_the_study_runs(study, recorded, monkeypatch):
    monkeypatch.setattr("study.loggers.exporting.EVERY_S", 0.01)
    reached = Event()
    monkeypatch.setitem(LOGGERS, "wandb", lambda folder, trial: reached.set())
    with exporting(study, ["wandb"], pytest.fail):
        end_trial(study, "search-000")
        assert reached.wait(30)


def test_a_loggers_fault_is_one_line_and_the_next_command_goes_on(study, recorded, monkeypatch):
    for number in range(3):
        end_trial(study, f"search-{number:03d}")

    def refuse(folder, trial):
        raise ConnectionError("no answer\nfrom the server")

    monkeypatch.setitem(LOGGERS, "mlflow", refuse)
    (line,) = export(study, "mlflow", "wandb")
    assert line.startswith("WARNING --log mlflow: ConnectionError: no answer; the study goes on") and "\n" not in line
    assert len(recorded) == 3, "the other logger has not been stopped"
    monkeypatch.setitem(LOGGERS, "mlflow", LOGGERS["wandb"])
    export(study, "mlflow")
    assert len(recorded) == 6


def test_a_server_that_hangs_does_not_hold_the_study_for_ever(study, recorded, monkeypatch):
    end_trial(study, "search-000")
    monkeypatch.setattr("study.loggers.exporting.LAST_EXPORT_S", 0.1)
    stop = Event()
    monkeypatch.setitem(LOGGERS, "wandb", lambda folder, trial: stop.wait(60))
    (line,) = export(study, "wandb")
    stop.set()
    assert "takes too long" in line


def test_the_command_exports_its_trials_and_a_resumption_the_others(command, small_machine, photographs, recorded):
    arguments = ("--data", photographs, "--preset", "smoke")
    assert command(*arguments, "--trials", 1)[0] == 0 and recorded == []
    assert command(*arguments, "--trials", 2, "--resume", "--log", "wandb")[0] == 0
    assert recorded == ["baseline-000", "paper-000", "paper-001"]


def test_a_missing_package_is_named_before_the_study_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()  # a folder of that name, such as an earlier export, is no package
    for name in ("wandb", "mlflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError, match=r"--log wandb: .* pip install -e '\.\[wandb\]'"):
        refuse_missing(["wandb"])
    with pytest.raises(ConfigError, match="--log mlflow"):
        sweep.run(sweep_parser().parse_args(["--log", "mlflow", "--out", str(tmp_path / "runs")]))
    assert not (tmp_path / "runs").exists()


def test_tensorboards_file_holds_history_metrics_and_picture(study):
    end_trial(study, "search-000")
    assert export(study, "tensorboard") == []
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    runs = EventMultiplexer().AddRunsFromDirectory(str(study / "tensorboard")).Reload()
    assert list(runs.Runs()) == ["search-000"]
    distances = runs.Scalars("search-000", "gan/frechet_distance")
    assert [(event.step, event.value) for event in distances] == [(5, 200.0), (10, 150.0)]
    assert distances[1].wall_time - distances[0].wall_time == 3
    assert runs.Scalars("search-000", "trial/test_auroc")[0].value == pytest.approx(0.8)
    (image,) = runs.Images("search-000", "samples")
    assert (image.width, image.height) == (20, 10)


@pytest.mark.filterwarnings("ignore")  # of its own use of SQLAlchemy
def test_mlflows_run_holds_settings_metrics_history_and_picture(study, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    end_trial(study, "search-000")
    end_trial(study, "search-001", "failed", "the critic's loss is not finite")
    assert export(study, "mlflow") == []
    (study / "logged" / "mlflow" / "search-000").unlink()  # as if the export had been cut off
    assert export(study, "mlflow") == []
    client = mlflow.MlflowClient(f"sqlite:///{study}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name(study.name).experiment_id], order_by=["tags.trial_id"])
    assert [(run.info.run_name, run.info.status) for run in runs] == [
        ("search-000", "FINISHED"),
        ("search-001", "FAILED"),
    ]
    run = runs[0]
    assert run.data.params["lstm_depth"] == "3" and run.data.metrics["test_auroc"] == 0.8
    history = client.get_metric_history(run.info.run_id, "gan/frechet_distance")
    assert [(metric.step, metric.value) for metric in history] == [(5, 200.0), (10, 150.0)]
    (picture,) = (study / "mlflow-artifacts" / run.info.run_id).rglob("samples.png")
    assert picture.read_bytes() == GanFolder(study / "gans" / "aa").samples.read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_two_studies_of_one_name_share_an_mlflow_server(study, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    monkeypatch.chdir(tmp_path)  # where such a server keeps its pictures
    for folder in (study, tmp_path / "elsewhere" / study.name):
        end_trial(folder, "search-000")
        assert export(folder, "mlflow") == []
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(study.name).experiment_id])
    assert [run.info.run_name for run in runs] == ["search-000"] * 2
    assert len({run.data.tags["study_id"] for run in runs}) == 2


@pytest.mark.filterwarnings("ignore")
def test_wandbs_run_stays_on_this_machine(study, monkeypatch):
    pytest.importorskip("wandb", reason="pip install -e '.[wandb]'")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    end_trial(study, "search-000")
    monkeypatch.setattr("socket.gethostname", lambda: "planted-host")
    assert export(study, "wandb") == []
    (folder,) = (study / "wandb").glob("offline-run-*")
    file, deadline = folder / f"run-{study_id(study)}-search-000.wandb", time.monotonic() + 60
    while b"test_auroc" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)  # wandb's own process writes it, on a busy machine a little later
    stored = file.read_bytes()
    assert b"test_auroc" in stored and b"gan/frechet_distance" in stored and list(folder.rglob("samples*.png"))
    assert not list(folder.rglob("wandb-metadata.json")), "which would hold paths and the machine's name"
    assert str(study.parent).encode() not in stored and socket.gethostname().encode() not in stored
