"""The work of `study/audit.py`: audit the GANs of a study."""

from argparse import Namespace

import pandas as pd

from results.tables.store import read_table
from study.gan_audit.study import audit_study

TABLE = "{:<19.19} {:>4} {:>7} {:>5} {:>5} {:>5}  {}"


def run(options: Namespace) -> int:
    """Audit the study's GANs and print the verdicts."""
    audit_study(options.study, everything=options.all)
    print(verdict_table(read_table(options.study, "generator_metrics")))
    return 0


def verdict_table(metrics: pd.DataFrame) -> str:
    """What the audit found of both classes together, a line a GAN and extractor."""
    lines = []
    for extractor, rows in metrics[metrics["label"].isna()].groupby("feature_extractor"):
        header = TABLE.format("GAN of", "seed", "Frechet", "floor", "cover", "floor", "verdict")
        lines += [f"\nFeatures of {extractor}", header]
        names = rows["confirms"].fillna(rows["trial_id"])
        rows = rows.assign(name=names).sort_values(["name", "seed"])
        lines += [TABLE.format(row.name, f"{row.seed:.0f}", *cells(row), row.verdict) for row in rows.itertuples()]
    return "\n".join(lines)


def cells(row) -> list[str]:
    distances, coverages = (row.frechet_distance, row.frechet_floor), (row.coverage, row.coverage_floor)
    values = [(value, ".1f") for value in distances] + [(value, ".2f") for value in coverages]
    return ["-" if pd.isna(value) else format(value, spec) for value, spec in values]
