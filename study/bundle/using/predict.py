"""Photographs in, a row for each out: probability, label, "uncertain", "far from the training data". Needs no torch."""

import csv
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load
from tqdm import tqdm

from results.text import printable
from study.bundle.decision import TrainingFeatures
from study.bundle.folder import TRAINING_FEATURES, WEIGHTS, Bundle
from study.bundle.networks import BATCH, Classifier, load_classifier, sigmoid
from study.bundle.output import fresh_file, fresh_folder
from study.bundle.using.explain import save_overlay
from study.bundle.using.photographs import MARKER, photographs, read_all
from study.errors import ConfigError

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("probability", pa.float64()),  # of the positive class
        ("label", pa.string()),  # class name; positive at or above the threshold
        ("uncertain", pa.bool_()),
        ("far_from_training", pa.bool_()),
        ("feature_distance", pa.float64()),
        ("explanation", pa.string()),  # file name of the overlay
        ("error", pa.string()),  # why the file could not be read; the columns before are then empty
    ]
)
NOTE = "Occlusion maps of the photographs named in the table. For research; not a medical device.\n"


@dataclass(frozen=True)
class Judge:
    """A bundle's classifier with all that turns its output into an answer."""

    bundle: Bundle
    classifier: Classifier
    training: TrainingFeatures

    def __call__(self, images: np.ndarray) -> list[dict]:
        """The columns `probability` to `feature_distance` of uint8 images (N, 3, S, S)."""
        logits, features = self.classifier(images)
        distances = self.training.distance(features)
        return [self._row(float(p), float(d)) for p, d in zip(sigmoid(logits), distances, strict=True)]

    def _row(self, probability: float, distance: float) -> dict:
        about = self.bundle.about
        low, high = about["uncertain_band"]["low"], about["uncertain_band"]["high"]
        return {
            "probability": probability,
            "label": self.bundle.class_names[int(probability >= about["threshold"]["value"])],
            "uncertain": low <= probability <= high,
            "far_from_training": distance > about["far_from_training"]["threshold"],
            "feature_distance": distance,
        }


def load_judge(bundle: Bundle, engine: str = "onnx") -> Judge:
    """Raises ConfigError as `study.bundle.networks.load_classifier`."""
    return Judge(bundle, load_classifier(bundle, engine), TrainingFeatures(**load(bundle.read(TRAINING_FEATURES))))


def predict(
    bundle: Bundle, paths: list[Path], out: Path | None, engine: str, explain: Path | None, force: bool
) -> int:
    """Write a row for each photograph to `out` (CSV or Parquet; None: CSV to the console).

    `explain` is a folder for the overlays. Files that cannot be read are named on the error stream and in the table.
    Returns how many there were. Raises ConfigError.
    """
    if out is not None:
        if out.suffix not in WRITERS:
            raise ConfigError(f"--out {out} must end in {' or '.join(WRITERS)}")
        out = fresh_file(out, force)
    files = photographs(paths)
    judge = load_judge(bundle, engine)
    if explain is not None:
        explain = fresh_folder(explain, MARKER, NOTE, force, "--explain")
        (explain / MARKER).write_text(NOTE, encoding="utf-8")
    rows = list(tqdm(judged(judge, files, explain), total=len(files), unit=" photographs", disable=None))
    if out is None:
        sys.stdout.write(as_csv(rows).decode("utf-8"))
    else:
        WRITERS[out.suffix](out, rows, bundle)
    unread = [row for row in rows if row["error"]]
    for row in unread:
        print(printable(f"not read: {row['path']}: {row['error']}"), file=sys.stderr)
    return len(unread)


def judged(judge: Judge, files: list[tuple[Path, Path]], explain: Path | None) -> Iterator[dict]:
    """A row of `SCHEMA` for each file, in their order."""
    number = 0
    for batch in read_all(files, judge.bundle.about["preprocessing"], BATCH):
        readable = [pixels for _, pixels, _ in batch if pixels is not None]
        answers = iter(judge(np.stack(readable)) if readable else [])
        for path, pixels, reason in batch:
            number += 1
            row = dict.fromkeys(SCHEMA.names) | {"path": text(path), "error": reason}
            if pixels is not None:
                row |= next(answers)
                if explain is not None:
                    row["explanation"] = f"{number:06d}.png"
                    save_overlay(judge.classifier, pixels, explain / row["explanation"])
            yield row


def text(path: Path) -> str:
    """A path as text that any table can hold; bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def as_csv(rows: list[dict]) -> bytes:
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, SCHEMA.names)
    table.writeheader()
    table.writerows(rows)
    return buffer.getvalue().encode("utf-8")


def write_csv(out: Path, rows: list[dict], bundle: Bundle) -> None:
    replace(out, as_csv(rows))


def write_parquet(out: Path, rows: list[dict], bundle: Bundle) -> None:
    """The bundle's trial and the classifier's checksum stand in the file's metadata."""
    metadata = {"trial_id": bundle.about["trial_id"], "classifier_sha256": bundle.hashes[WEIGHTS["classifier"]]}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA.with_metadata(metadata)), buffer, write_page_checksum=True)
    replace(out, buffer.getvalue())


WRITERS = {".csv": write_csv, ".parquet": write_parquet}


def replace(out: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old one or the new one."""
    temporary = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        temporary.write_bytes(content)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
