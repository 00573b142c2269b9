"""The pictures of trials' GANs as Optuna's artifacts: optuna-dashboard shows them beside the trial.

    optuna-dashboard sqlite:///runs/STUDY/optuna.db --artifact-dir runs/STUDY/artifacts
"""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial


class Pictures:
    """The folder `<study>/artifacts`. Like Optuna's file it is made anew at each start, and nothing reads it back."""

    def __init__(self, study: Path):
        self.gans, self.folder = study / "gans", study / "artifacts"
        shutil.rmtree(self.folder, ignore_errors=True)

    def attach(self, row: dict, trial: FrozenTrial, storage: BaseStorage) -> None:
        """Attach the picture of the row's GAN, if there is one, to a trial that has not ended in Optuna's file."""
        if picture := self.picture(row):
            store = FileSystemArtifactStore(self.folder)
            upload_artifact(artifact_store=store, file_path=str(picture), study_or_trial=trial, storage=storage)

    def attributes(self, row: dict) -> dict[str, str]:
        """The same for a trial that is about to be added to the file: an upload would cost it a transaction each."""
        if not (picture := self.picture(row)):
            return {}
        artifact = ArtifactMeta(f"{row['gan_key']}.png", picture.name, "image/png", None)
        link(picture, self.folder / artifact.artifact_id)
        return {f"artifacts:{artifact.artifact_id}": json.dumps(asdict(artifact))}

    def picture(self, row: dict) -> Path | None:
        """`GanFolder.samples` of the row's GAN, where it is there; rooms of one floor do not import each other."""
        path = self.gans / (row.get("gan_key") or "none") / "samples.png"
        if not path.exists():
            return None
        self.folder.mkdir(exist_ok=True)
        return path


def link(source: Path, target: Path) -> None:
    """Make `target` the same file, or a copy where the file system has no links. Trials may share a GAN."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
