"""The benchmark: every system at an equal cost, what it makes, what classifiers gain by it, beside the paper's list."""

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.stats import spearmanr, ttest_ind

from results.page.few import few_data_table, few_positives_table
from results.page.figure import OTHERS, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import MISSING, Note, Table, gain, spread, with_classifier
from results.stats.evidence import Evidence, select
from results.tables.published import read_published
from results.tables.schema import BENCHMARK

COMMAND = "python study/benchmark.py STUDY --minutes 5"
COLUMNS = (
    ("system", "system", "s"), ("seeds", "seeds", "d"), ("parameters, M", "parameters", ".2f"),
    ("images/s", "images_per_second", ".0f"), ("memory, GB", "memory", ".2f"), ("ms per image", "sampling", ".2f"),
    ("Frechet", "frechet_distance", "s"), ("floor", "frechet_floor", ".1f"), ("FID", "fid", "s"),
    ("floor", "fid_floor", ".1f"), ("KID", "kid_mean", ".3f"), ("precision", "precision", ".2f"),
    ("recall", "recall", ".2f"), ("density", "density", ".2f"), ("coverage", "coverage", ".2f"),
    ("IS", "inception_score", ".2f"), ("SSIM", "ssim_nearest", ".2f"), ("audit", "verdict", "s"),
    ("AUROC gain", "auroc", "s"), ("accuracy gain", "accuracy", "s"),
)  # fmt: skip
PUBLISHED_COLUMNS = (
    ("study", "model", "s"), ("method", "method", "s"), ("data", "data", "s"), ("metric", "metric", "s"),
    ("value", "value", "g"), ("±", "plus_minus", "g"), ("note", "note", "s"),
)  # fmt: skip
AUDITED = ["kid_mean", "precision", "recall", "density", "coverage"]
LSTM, NO_LSTM = "wgan_gp_lstm", "wgan_gp"
RESAMPLES = 2000


def system_parts(evidence: Evidence) -> list[Drawing | Table | Note]:
    """The figure of distance against seconds, the table of systems, answers in words, and the paper's Table 3."""
    trials = select(evidence.completed, phase=BENCHMARK, training_fraction=1.0, positive_fraction=1.0)
    trials = trials.dropna(subset="confirms")
    published = select(read_published(), table="benchmark")
    caption = "The paper's list: other data, so the figures do not compare with each other or with the rows above"
    paper = Table("published_benchmark", caption, published, PUBLISHED_COLUMNS, folded=True)
    if trials.empty:
        return [Note("No systems were trained at an equal cost yet.", COMMAND), paper]
    # Of a GAN's trials the one that has trained it: its memory is the GAN's.
    gans = trials.sort_values(["gan_reused", "trial_id"]).drop_duplicates("gan_key")
    answers = [sentence for sentence in (of_the_lstm(gans), *of_the_distances(evidence, trials)) if sentence]
    notes = [Note(" ".join(answers))] if answers else []
    few = [*few_positives_table(evidence), *few_data_table(evidence)]
    return [distance_by_seconds(evidence, gans), systems_table(evidence, gans), *notes, *few, paper]


def systems_table(evidence: Evidence, gans: pd.DataFrame) -> Table:
    """One row a system, budget and classifier, the lowest mean distance first."""
    audits = select(evidence.generator_metrics, label=None, feature_extractor=gans["feature_extractor"].iloc[0])
    of_benchmark = set(select(evidence.completed, phase=BENCHMARK)["classifier_key"])
    rows = [
        system_row(evidence, name, classifier, group, audits[audits["gan_key"].isin(group["gan_key"])])
        for name, group in gans.groupby("confirms")
        for classifier in evidence.classifiers
        if classifier in of_benchmark
    ]
    frame = pd.DataFrame(rows).sort_values(["mean_distance", "system"], kind="stable", ignore_index=True)
    features = gans.iloc[0]
    caption = (
        "Systems at an equal cost: means ± standard deviations over seeds; distances and IS in "
        f"{features.feature_extractor}, {features.num_fake:.0f} synthetic and {features.num_real:.0f} validation "
        "images; gains on test images by adding as many synthetic images, paired by seed (95 % interval)"
    )
    return Table("systems", caption, frame, with_classifier(COLUMNS, frame))


def system_row(evidence: Evidence, name: str, classifier: str, gans: pd.DataFrame, audits: pd.DataFrame) -> dict:
    means = gans[["frechet_floor", "fid_floor", "inception_score", "ssim_nearest"]].mean()
    gains = select(
        evidence.comparisons, phase=BENCHMARK, family="synthetic against real", side="test", gan=name,
        arm_a="real_and_synthetic_1", classifier_key=classifier,
    )  # fmt: skip
    found = gans["gan_key"].map(evidence.verdicts).value_counts()
    return {
        "system": name,
        "classifier": evidence.classifiers[classifier],
        "seeds": len(gans),
        "parameters": gans["generator_parameters"].mean() / 1e6,
        "images_per_second": gans["gan_images_per_second"].mean(),
        "memory": gans["peak_memory_bytes"].max() / 1e9,
        "sampling": 1000 * gans["seconds_per_synthetic_image"].mean(),
        "frechet_distance": spread(gans["frechet_distance"]),
        "mean_distance": gans["frechet_distance"].mean(),
        "fid": spread(gans["fid"]),
        **means,
        **audits[AUDITED].mean(),
        "verdict": "; ".join(f"{verdict} ({number})" for verdict, number in found.items()) or MISSING,
        **{metric: gain(select(gains, metric=metric)) for metric in ("auroc", "accuracy")},
    }


def distance_by_seconds(evidence: Evidence, gans: pd.DataFrame) -> Drawing:
    """Frechet distance against seconds of training: a line a system, the mean over its seeds, and their range."""
    reports = select(evidence.history, stage="gan").drop(columns="gan_key", errors="ignore")
    reports = reports.merge(gans[["trial_id", "confirms"]], on="trial_id")
    figure, (axes,) = new_figure(WIDE)
    last = gans.groupby("confirms")["frechet_distance"].mean().sort_values()
    for number, name in enumerate(last.index):
        runs = [run.sort_values("seconds") for _, run in reports[reports["confirms"] == name].groupby("trial_id")]
        if not runs:  # a copy of the study without its history
            continue
        grid, curves = on_one_grid(runs)
        style = look(number)
        axes.plot(grid, curves.mean(axis=0), label=name, markevery=max(1, len(grid) // 6), **style)
        axes.fill_between(grid, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.15, linewidth=0)
    floor = gans["frechet_floor"].mean()
    if pd.notna(floor):
        axes.axhline(floor, color=OTHERS, linewidth=1, linestyle=":", label="real to real images")
    axes.set(xlabel="seconds of training", ylabel="Frechet distance", xscale="log")
    # matplotlib's own labels, powers of ten, are formulas; the page has none
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())
    legend_below(figure, axes)
    alt = ", ".join(f"{name} {value:.1f}" for name, value in last.items())
    title = "Frechet distance by seconds of training of each system"
    return Drawing("systems_frechet", title, f"At the end: {alt}.", figure)


def on_one_grid(runs: list[pd.DataFrame], points: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (P,) at which all runs had been measured and none had ended, and their distances there (S, P)."""
    first = max(run["seconds"].iloc[0] for run in runs)
    last = max(first, min(run["seconds"].iloc[-1] for run in runs))
    grid = np.geomspace(max(first, 1e-3), max(last, 1e-3), points if last > first else 1)
    return grid, np.stack([np.interp(grid, run["seconds"], run["frechet_distance"]) for run in runs])


def of_the_lstm(gans: pd.DataFrame) -> str | None:
    """What the paper's two LSTM layers change at an equal cost; None without two seeds of both."""
    sides = [gans[gans["system"] == name]["frechet_distance"].dropna() for name in (LSTM, NO_LSTM)]
    if gans["confirms"].nunique() != gans["system"].nunique() or min(map(len, sides)) < 2:
        return None  # several budgets in one study, or too few seeds
    interval = ttest_ind(*sides, equal_var=False).confidence_interval(0.95)
    return (
        f"Two LSTM layers change the Frechet distance of the WGAN-GP by {sides[0].mean() - sides[1].mean():+.1f} "
        f"(95 % interval {interval.low:+.1f} to {interval.high:+.1f}, Welch's t over {len(sides[0])} seeds); the paper "
        "has a fall of 17 or 22 points of FID."
    )


def of_the_distances(evidence: Evidence, trials: pd.DataFrame) -> list[str | None]:
    """`of_the_distance` of each classifier, which is named where there are several."""
    several = trials["classifier_key"].nunique() > 1
    return [
        of_the_distance(part, f" of {name}" if several else "")
        for key, name in evidence.classifiers.items()
        if len(part := select(trials, classifier_key=key))
    ]


def of_the_distance(trials: pd.DataFrame, classifier: str = "") -> str | None:
    """Whether a lower distance goes with a better classifier: rank correlations over all GANs."""
    parts = []
    for arm, words in (("synthetic_only_1", "synthetic images alone"), ("real_and_synthetic_1", "real and synthetic")):
        rows = select(trials, arm=arm).dropna(subset=["frechet_distance", "test_auroc"])
        if rows["confirms"].nunique() < 4 or rows["test_auroc"].nunique() < 2:
            return None
        low, high = np.nanpercentile(resampled_correlations(rows), [2.5, 97.5])
        parts.append(f"{correlation(rows):+.2f} ({low:+.2f} to {high:+.2f}) for {words}")
    return (
        f"Rank correlation of Frechet distance and test AUROC{classifier} over {len(rows)} GANs (95 % interval, "
        f"systems resampled; negative: a lower distance goes with a better classifier): {'; '.join(parts)}."
    )


def correlation(rows: pd.DataFrame) -> float:
    """Spearman's."""
    return spearmanr(rows["frechet_distance"], rows["test_auroc"]).statistic


def resampled_correlations(rows: pd.DataFrame) -> np.ndarray:
    """(B,): systems drawn with replacement; NaN where a draw has no spread."""
    draws = np.random.default_rng(0)
    rows = rows[["confirms", "frechet_distance", "test_auroc"]]  # the others would be copied with each draw
    systems = [np.flatnonzero(rows["confirms"] == name) for name in sorted(rows["confirms"].unique())]
    picked = (draws.integers(len(systems), size=len(systems)) for _ in range(RESAMPLES))
    samples = (rows.iloc[np.concatenate([systems[number] for number in numbers])] for numbers in picked)
    return np.array([
        correlation(sample) if sample["test_auroc"].nunique() > 1 and sample["confirms"].nunique() > 1 else np.nan
        for sample in samples
    ])
