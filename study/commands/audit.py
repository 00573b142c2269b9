"""The work of `study/audit.py`: audit the GANs of a study."""

from argparse import Namespace

import pandas as pd

from results.tables.store import read_table
from study.gan_audit.study import audit_study

TABLE = "{:<24.24} {:>7} {:>5} {:>5} {:>5}  {}"


def run(options: Namespace) -> int:
    """Audit the study's GANs and print the verdicts."""
    audit_study(options.study, everything=options.all)
    print(verdict_table(read_table(options.study, "generator_metrics")))
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
