"""Audit the GANs of a study: distances, diversity, copying and collapse, skin tones of their images.

    python study/audit.py runs/sample-smoke          # GANs of the confirming trials
    python study/audit.py runs/sample-smoke --all    # of the search and of parts of the training set, too
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from data_utils.errors import DataError
from models.feature_extractor import (
    ExtractorUnavailable,
)
from results.tables.store import TableError, read_table
from study.cli import EXIT_USER_ERROR
from study.errors import ConfigError
from study.gan_audit.study import audit_study
from study.progress import print_error

TABLE = "{:<24.24} {:>7} {:>5} {:>5} {:>5}  {}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 2: a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder of the study, such as runs/sample-smoke")
    parser.add_argument("--all", action="store_true", help="audit every completed trial's GAN, not only confirmed ones")
    options = parser.parse_args(arguments)
    try:
        audit_study(options.study, everything=options.all)
        print(verdict_table(read_table(options.study, "generator_metrics")))
    except (ConfigError, DataError, TableError, ExtractorUnavailable) as error:
        print_error(error)
        return EXIT_USER_ERROR
    return 0


def verdict_table(metrics: pd.DataFrame) -> str:
    """What the audit found of both classes together, a line a GAN and extractor."""
    lines = []
    for extractor, rows in metrics[metrics["label"].isna()].groupby("feature_extractor"):
        lines += [f"\nFeatures of {extractor}", TABLE.format("trial", "Frechet", "floor", "cover", "floor", "verdict")]
        lines += [
            TABLE.format(row.trial_id, *cells(row), row.verdict) for row in rows.sort_values("trial_id").itertuples()
        ]
    return "\n".join(lines)


def cells(row) -> list[str]:
    distances, coverages = (row.frechet_distance, row.frechet_floor), (row.coverage, row.coverage_floor)
    values = [(value, ".1f") for value in distances] + [(value, ".2f") for value in coverages]
    return ["-" if pd.isna(value) else format(value, spec) for value, spec in values]


if __name__ == "__main__":
    sys.exit(main())
