"""The picture of a trial's GAN is an artifact of its trial, before and after Optuna's file is made anew."""

import time

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from PIL import Image

from study.gan.folder import GanFolder
from study.search.records import open_storage, write_proposal
from tests.support.trainings import new_search


def draw(folder, key: str) -> bytes:
    gan = GanFolder(folder / "gans" / key)
    gan.path.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), key).save(gan.samples)
    return gan.samples.read_bytes()


def shown(folder, tmp_path) -> list[list[bytes]]:
    """The content of every artifact of every trial, as a dashboard gets it."""
    storage, store = open_storage(folder / "optuna.db"), FileSystemArtifactStore(folder / "artifacts")
    pictures = []
    for trial in optuna.load_study(study_name=folder.name, storage=storage).trials:
        pictures.append([])
        for meta in get_all_artifact_meta(trial, storage=storage):
            assert (meta.filename, meta.mimetype) == ("samples.png", "image/png")
            target = tmp_path / "downloaded"
            target.unlink(missing_ok=True)
            download_artifact(artifact_store=store, file_path=str(target), artifact_id=meta.artifact_id)
            pictures[-1].append(target.read_bytes())
    return pictures


def test_the_picture_is_shown_during_the_search_and_after_a_resumption(tmp_path):
    folder, rows = tmp_path / "study-a", {}
    folder.mkdir()
    search = new_search(folder, ended=["baseline-000"])
    red = draw(folder, "red")
    for key in ("red", "red", "never-trained"):  # trials share a GAN
        proposal = search.ask()
        columns = {"frechet_distance": 1.0, "validation_auroc": 0.9, "gan_key": key}
        rows[proposal.trial_id] = columns | {"status": "completed", "phase": proposal.phase}
        search.tell(proposal.number, "completed", columns)
    assert shown(folder, tmp_path) == [[red], [red], []]
    for _ in range(2):
        new_search(folder, ended=["baseline-000"], rows=rows)
        assert shown(folder, tmp_path) == [[red], [red], []]
    assert [path.name for path in (folder / "artifacts").iterdir()] == ["red.png"], "nothing gathers there"


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("no links")

    monkeypatch.setattr("study.search.pictures.os.link", refuse)
    test_the_picture_is_shown_during_the_search_and_after_a_resumption(tmp_path)


@pytest.mark.slow
def test_a_thousand_pictures_do_not_slow_a_start(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    folder, rows = tmp_path / "study-a", {}
    folder.mkdir()
    search = new_search(folder, ended=["baseline-000"])
    attributes = {"phase": "search", "stoppable": False}
    values = {name: getattr(search.base, name) for name in search.space}
    for number in range(1000):
        write_proposal(folder, number, attributes, values, search.space)
        draw(folder, f"#{number:06x}")
        measured = {"frechet_distance": 1.0, "validation_auroc": 0.9, "gan_key": f"#{number:06x}"}
        rows[f"search-{number:03d}"] = measured | {"status": "completed", "phase": "search"}
    seconds = {}
    for name, known in {"without": {k: v | {"gan_key": None} for k, v in rows.items()}, "with": rows}.items():
        started = time.process_time()
        new_search(folder, ended=["baseline-000"], rows=known)
        seconds[name] = time.process_time() - started
    assert len(list((folder / "artifacts").iterdir())) == 1000
    assert seconds["with"] < 2 * seconds["without"] + 1, seconds
