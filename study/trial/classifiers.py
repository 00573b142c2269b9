"""The trained classifiers that a study keeps: the best of the search by validation, and the baseline's."""

from pathlib import Path

from torch import Tensor

from results.tables.schema import TRIALS
from results.tables.store import read_part
from study.errors import ConfigError, Damaged
from study.storage.tensors import read_tensors

KEPT = 10  # besides the baseline's; the paper's classifier takes 2 MB, one on EfficientNet-Lite0 20 MB


def classifier_file(study: Path, trial_id: str) -> Path:
    """Where the weights of a trial's classifier are kept."""
    return study / "classifiers" / f"{trial_id}.safetensors"


def keep_classifier(study: Path, trial_id: str, trained: Path) -> None:
    """Keep the file `trained`, which a completed trial's training has left (`study.diagnosis.train`)."""
    kept = classifier_file(study, trial_id)
    kept.parent.mkdir(parents=True, exist_ok=True)
    trained.replace(kept)


def forget_weaker_classifiers(study: Path) -> None:
    """Delete all but the `KEPT` classifiers of highest validation AUROC, and the baseline's.

    A file whose trial has no row yet stays: another worker is about to write it. Rows only ever push a classifier
    down the list, so several workers may do this at once.
    """
    rows = [row for path in classifier_file(study, "*").parent.glob("*.safetensors") if (row := _row(study, path.stem))]
    ranked = sorted((row for row in rows if row["phase"] != "baseline"), key=_rank)
    for row in ranked[KEPT:]:
        classifier_file(study, row["trial_id"]).unlink(missing_ok=True)


def _rank(row: dict) -> tuple:
    return -(row["validation_auroc"] or 0.0), row["trial_id"]


def _row(study: Path, trial_id: str) -> dict | None:
    path = study / "trials" / f"{trial_id}.parquet"
    if not path.exists():
        return None
    (row,) = read_part(path, TRIALS).select(["trial_id", "phase", "validation_auroc"]).to_pylist()
    return row


def read_classifier(study: Path, trial_id: str) -> dict[str, Tensor]:
    """The weights of a trial's classifier; ConfigError where they were not kept, or are damaged."""
    try:
        return read_tensors(classifier_file(study, trial_id))[0]
    except FileNotFoundError:
        kept = sorted(path.stem for path in classifier_file(study, "*").parent.glob("*.safetensors"))
        raise ConfigError(
            f"the classifier of {trial_id} was not kept: a study keeps its {KEPT} best by validation and the "
            f"baseline's. Kept are: {', '.join(kept) or 'none'}. To train {trial_id} again, add --train-again"
        ) from None
    except Damaged as damage:
        raise ConfigError(f"{damage}; delete it and add --train-again") from None
