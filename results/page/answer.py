"""The study's answer in three sentences, made from its tables: do synthetic images help, how good and how honest are
they, and what may not be concluded."""

import pandas as pd

from results.page.parts import AUDIT, CONFIRM
from results.stats.evidence import Evidence, arm_name, select
from results.tables.published import SETTINGS, read_published

# A family-wise error of 5 % is shared between the two outcomes, accuracy and AUROC; the p-values that are held against
# it are already adjusted over arms.
SIGNIFICANCE = 0.05 / 2
NOTHING_FOUND = "no copying or collapse found"  # the audit's verdict on a GAN that passes
OUTCOMES = ("accuracy", "auroc")
HEADLINES = {
    frozenset(): "No evidence of a difference",
    frozenset({1}): "Synthetic images helped",
    frozenset({-1}): "Synthetic images harmed",
    frozenset({1, -1}): "Synthetic images helped in one outcome and harmed in the other",
}


def answer(evidence: Evidence) -> list[str]:
    """Three sentences, each with its counts and, where seeds were repeated, its 95 % interval."""
    return [effect(evidence), image_quality(evidence), "Not to be concluded: " + "; ".join(limits(evidence)) + "."]


def effect(evidence: Evidence) -> str:
    """Real + synthetic against real images alone, for the arm that validation chose."""
    choice = evidence.choice
    against_real = _comparisons(evidence, "synthetic against real")
    if choice is None or set(against_real) != set(OUTCOMES):
        return _unconfirmed(evidence)
    counts = against_real["accuracy"]
    clauses = [
        f"{HEADLINES[directions(against_real)]}: {arm_name(choice.arm)} (GAN {choice.gan}, the best on validation of "
        f"{choice.num_arms} such arms) instead of real images alone changed test accuracy by "
        f"{points(against_real['accuracy'])} and AUROC by {units(against_real['auroc'])}, "
        f"n = {counts.num_images} images in {counts.num_groups} groups, {counts.num_seeds} seeds",
        _claim(against_real["accuracy"]),
        _not_longer_training(_comparisons(evidence, "against oversampled")),
    ]
    return "; ".join(clauses) + "."


def direction(row) -> int:
    """1 or -1 where a row of COMPARISONS shows a difference, else 0: always 0 for one seed, whose luck is unknown."""
    clear = row.num_seeds > 1 and row.p_adjusted < SIGNIFICANCE and (row.ci_low > 0 or row.ci_high < 0)
    return int(clear) * (1 if row.difference > 0 else -1)


def directions(rows: dict) -> frozenset[int]:
    """The directions that any outcome shows."""
    return frozenset(filter(None, map(direction, rows.values())))


def points(row) -> str:
    """An accuracy's difference in percentage points."""
    return f"{100 * row.difference:+.1f} points ({interval(row, '+.1f', 100)}, {p_value(row)})"


def units(row) -> str:
    """An AUROC's difference."""
    return f"{row.difference:+.3f} ({interval(row, '+.3f')}, {p_value(row)})"


def interval(row, spec: str, scale: float = 1) -> str:
    """The bootstrap gives no interval where there are too few groups, or all replicates are alike."""
    if pd.isna(row.ci_low):
        return "no 95 % interval"
    return f"95 % interval {format(scale * row.ci_low, spec)} to {format(scale * row.ci_high, spec)}"


def p_value(row) -> str:
    if pd.isna(row.p_adjusted):
        return "no p-value"
    return "adjusted p < 0.001" if row.p_adjusted < 0.001 else f"adjusted p = {row.p_adjusted:.3f}"


def _comparisons(evidence: Evidence, family: str) -> dict:
    """Outcome -> row of COMPARISONS for the chosen arm on the test side, full data, the study's own split."""
    if evidence.choice is None:
        return {}
    rows = select(
        evidence.comparisons,
        family=family, side="test", training_fraction=1.0, split_protocol=evidence.protocol,
        gan=evidence.choice.gan, arm_a=evidence.choice.arm, classifier_key=evidence.choice.classifier_key,
    )  # fmt: skip
    return {row.metric: row for row in rows.itertuples() if row.metric in OUTCOMES}


def claimed_gain() -> tuple[float, float]:
    """The paper's claim, as a difference of accuracies."""
    published = read_published()
    (row,) = published[published["metric"] == "accuracy_gain"].itertuples()
    return row.value, row.value_high


def _claim(row) -> str:
    low, high = claimed_gain()
    claim = f"the paper's gain of {100 * low:.0f} to {100 * high:.0f} points"
    if pd.isna(row.ci_low):
        return f"{claim} cannot be held against a difference without an interval"
    where = "partly inside"
    if row.ci_low <= low and high <= row.ci_high:
        where = "inside"
    elif low > row.ci_high:
        where = "outside, above,"
    elif high < row.ci_low:
        where = "outside, below,"
    return f"{claim} lies {where} this interval"


def _not_longer_training(rows: dict) -> str:
    if set(rows) != set(OUTCOMES):
        return "real images repeated for as many steps were not compared"
    meaning = {
        frozenset(): "so a difference from longer training is not shown",
        frozenset({1}): "so the gain is more than longer training",
        frozenset({-1}): "so longer training on real images does better",
        frozenset({1, -1}): "so the outcomes disagree",
    }[directions(rows)]
    return (
        f"against real images repeated for as many steps accuracy differed by {points(rows['accuracy'])} "
        f"and AUROC by {units(rows['auroc'])}, {meaning}"
    )


def _unconfirmed(evidence: Evidence) -> str:
    best, baseline = evidence.best_of_search, evidence.baseline
    if best is None or baseline is None:
        return "Not answered: the search has not completed both a trial with and a trial without synthetic images."
    return (
        f"Not answered yet: the best of the search on validation ({best.trial_id}, {best.synthetic_ratio:g} synthetic "
        f"images a real one) reached {_scores(best)} on test, real images alone {_scores(baseline)}, "
        f"n = {best.test_num_images:.0f} images ({best.test_num_positive:.0f} positive), but one seed, the best of a "
        f"search, has no interval: `{CONFIRM}` repeats it over seeds."
    )


def _scores(trial: pd.Series) -> str:
    return f"accuracy {trial.test_accuracy:.3f} and AUROC {trial.test_auroc:.3f}"


def image_quality(evidence: Evidence) -> str:
    """How near the synthetic images are to real ones, and whether they are copies or all alike."""
    rows = audited(evidence)
    if rows.empty:
        return _unaudited(evidence)
    gan = subject(evidence, rows)
    ours = rows[rows["model"] == gan]
    first = ours.iloc[0]
    flagged = rows[rows["verdict"] != NOTHING_FOUND]
    named = ", ".join(f"{row.model} seed {row.seed:.0f} {row.verdict}" for row in flagged.itertuples())
    verdict = f"{len(flagged)} flagged ({named})" if named else "none was found to copy training images or to collapse"
    return (
        f"The images of GAN {gan} have a Frechet distance of {mean_sd(ours['frechet_distance'], '.1f')} over "
        f"{len(ours)} seed{'s' * (len(ours) > 1)} to held-out real images, where real images have "
        f"{ours['frechet_floor'].mean():.1f} ({first.feature_extractor}, {first.num_real:.0f} real and "
        f"{first.num_fake:.0f} synthetic images); of {len(rows)} audited GANs {verdict}."
    )


def audited(evidence: Evidence) -> pd.DataFrame:
    """Rows of GENERATOR_METRICS for both classes together in the study's own features, with the column model."""
    extractor = evidence.trials["feature_extractor"].iloc[0]
    rows = select(evidence.generator_metrics, label=None, feature_extractor=extractor)
    if len(evidence.main):  # not of parts of the data, of the other split, or of the search's seed
        rows = rows[rows["gan_key"].isin(evidence.main["gan_key"])]
    return rows.assign(model=rows["confirms"].fillna(rows["trial_id"]))


def subject(evidence: Evidence, rows: pd.DataFrame) -> str:
    """The GAN the sentence is about: the chosen one, else that of the best trial, else the first audited."""
    wanted = [evidence.choice and evidence.choice.gan]
    wanted += [] if evidence.best_of_search is None else [evidence.best_of_search["trial_id"]]
    return next((gan for gan in wanted if gan in set(rows["model"])), rows["model"].iloc[0])


def _unaudited(evidence: Evidence) -> str:
    best = evidence.best_of_search
    if best is None or pd.isna(best.frechet_distance):
        return "No GAN has been measured."
    return (
        f"The images of the best trial's GAN ({best.trial_id}) have a Frechet distance of {best.frechet_distance:.1f} "
        f"to validation images, where real images have {best.frechet_floor:.1f} ({best.feature_extractor}, "
        f"{best.num_real:.0f} real and {best.num_fake:.0f} synthetic images, one seed); whether they are copies or all "
        f"alike is not known before `{AUDIT}`."
    )


def mean_sd(values: pd.Series, spec: str) -> str:
    """ "12.3 ± 0.4", the deviation over seeds; without it for one value."""
    mean = format(values.mean(), spec)
    return mean if len(values) < 2 else f"{mean} ± {format(values.std(), spec)}"


def limits(evidence: Evidence) -> list[str]:
    """What the study's numbers do not allow to conclude, each with its reason."""
    trial = evidence.trials.iloc[0]
    found = []
    if trial["is_sample_data"]:
        found.append("anything about wounds, as the images are rendered phantoms with made-up labels")
    elif "infect" not in str(trial["positive_class"]).casefold():
        found.append(
            f"anything about infection, as the classes are {trial['positive_class']} and {trial['negative_class']}"
        )
    if evidence.protocol == "random":
        found.append("how well new patients are diagnosed, as copies of a wound may lie on both sides of the split")
    found += _leakage(evidence)
    if evidence.choice and evidence.choice.num_seeds == 1:
        found.append("that another training would do the same, as each arm was trained with one seed")
    if evidence.choice is None:
        found.append("that any trial is better than another, as the best of a search over one seed has luck in it")
    if trial["feature_extractor"] != SETTINGS["feature_extractor"]:
        features = trial["feature_extractor"]
        found.append(f"that the images are better or worse than the paper's, as a distance in {features} is no FID")
    return [*found, "that a clinician would accept these images, as none was asked"]


def _leakage(evidence: Evidence) -> list[str]:
    rows = select(evidence.comparisons, family="leakage", metric="auroc", side="test").itertuples()
    return [
        f"anything from scores under a random split, which for {arm_name(row.arm_b)} changes AUROC by "
        f"{row.difference:+.3f} ({interval(row, '+.3f')})"
        for row in list(rows)[:1]
    ]
