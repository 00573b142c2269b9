"""The study's answer from its tables: the verdict in one line, the numbers behind it, and what may not be concluded."""

from dataclasses import dataclass

import pandas as pd

from results.page.parts import AUDIT, CONFIRM, MISSING, Table
from results.stats.evidence import Evidence, arm_name, select
from results.tables.published import SETTINGS, read_published
from results.tables.schema import HONEST

# A family-wise error of 5 % is shared between the two outcomes, accuracy and AUROC; the p-values that are compared
# with it are already adjusted over arms.
SIGNIFICANCE = 0.05 / 2
OUTCOMES = {"accuracy": "accuracy", "auroc": "AUROC"}
HEADLINES = {
    frozenset(): "No measurable gain",
    frozenset({1}): "Synthetic images helped",
    frozenset({-1}): "Synthetic images harmed",
    frozenset({1, -1}): "Synthetic images helped in one outcome and harmed in the other",
}
LONGER_TRAINING = {
    frozenset(): "no difference shown to real images repeated for as many steps",
    frozenset({1}): "the gain is larger than that of real images repeated for as many steps",
    frozenset({-1}): "real images repeated for as many steps do better",
    frozenset({1, -1}): "the outcomes disagree on real images repeated for as many steps",
}
AGAINST_REAL, AGAINST_OVERSAMPLED = "synthetic against real", "against oversampled"  # families of COMPARISONS


@dataclass(frozen=True)
class Answer:
    """`facts` are (subject, text); `differences` is None where no arm was repeated over seeds."""

    verdict: str
    differences: Table | None
    facts: list[tuple[str, str]]
    limits: list[str]

    @property
    def tables(self) -> list[Table]:
        """The differences and the facts as tables of the page."""
        frame = pd.DataFrame(self.facts, columns=["subject", "finding"])
        columns = (("about", "subject", "s"), ("finding", "finding", "s"))
        facts = Table("answer_facts", "Behind the answer", frame, columns)
        return [facts] if self.differences is None else [self.differences, facts]


def answer(evidence: Evidence) -> Answer:
    """Whether synthetic images help, for the arm that validation chose."""
    against_real, oversampled = (_comparisons(evidence, family) for family in (AGAINST_REAL, AGAINST_OVERSAMPLED))
    quality = [("image quality", image_quality(evidence)), ("audit", audit_finding(evidence))]
    if set(against_real) != set(OUTCOMES):
        return Answer(_unanswered(evidence), None, _searched(evidence) + quality, limits(evidence))
    choice, counts = evidence.choice, against_real["accuracy"]
    facts = [
        ("arm", f"{arm_name(choice.arm)}, GAN {choice.gan}: the best of {choice.num_arms} such arms on validation"),
        ("test images", f"{counts.num_images} images in {counts.num_groups} groups, {counts.num_seeds} seeds"),
        ("paper's claim", _claim(counts)),
        ("longer training", longer_training(oversampled)),
        *quality,
    ]
    differences = _differences(against_real, oversampled)
    return Answer(verdict(against_real), differences, facts, limits(evidence))


def verdict(rows: dict) -> str:
    """One line: the outcomes that show a difference, or accuracy where none does. `rows`: outcome -> COMPARISONS."""
    shown = [row for row in rows.values() if direction(row)] or [rows["accuracy"]]
    outcomes = " and ".join(f"{OUTCOMES[row.metric]} {difference(row)} ({interval(row)})" for row in shown)
    row = shown[0]
    seeds = f"{row.num_seeds} seed{'s' * (row.num_seeds > 1)}"
    return f"{HEADLINES[directions(rows)]}: {outcomes}, {seeds}, {row.num_images} test images."


def direction(row) -> int:
    """1 or -1 where a row of COMPARISONS shows a difference, else 0; one seed shows none."""
    clear = row.num_seeds > 1 and row.p_adjusted < SIGNIFICANCE and (row.ci_low > 0 or row.ci_high < 0)
    return int(clear) * (1 if row.difference > 0 else -1)


def directions(rows: dict) -> frozenset[int]:
    """The directions that the outcomes show."""
    return frozenset(filter(None, map(direction, rows.values())))


def difference(row) -> str:
    """A difference of accuracies in percentage points, of AUROCs as it is."""
    return f"{100 * row.difference:+.1f} points" if row.metric == "accuracy" else f"{row.difference:+.3f}"


def interval(row) -> str:
    """The bootstrap gives no interval where there are too few groups, or all replicates are alike."""
    return "no 95 % interval" if pd.isna(row.ci_low) else f"95 % interval {_ends(row)}"


def _ends(row) -> str:
    if pd.isna(row.ci_low):
        return MISSING
    scale, spec = (100, "+.1f") if row.metric == "accuracy" else (1, "+.3f")
    return f"{format(scale * row.ci_low, spec)} to {format(scale * row.ci_high, spec)}"


def p_value(row) -> str:
    if pd.isna(row.p_adjusted):
        return MISSING
    return "< 0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"


def _differences(*rows: dict) -> Table:
    """`rows`: of each family, outcome -> row of COMPARISONS."""
    frame = pd.DataFrame(
        {"outcome": OUTCOMES[row.metric], "reference": arm_name(row.arm_b), "difference": difference(row),
         "interval": _ends(row), "p": p_value(row)}
        for family in rows for row in family.values()
    )  # fmt: skip
    columns = (("outcome", "outcome", "s"), ("compared with", "reference", "s"), ("difference", "difference", "s"),
               ("95 % interval", "interval", "s"), ("adjusted p", "p", "s"))  # fmt: skip
    caption = f"The chosen arm on test images. A difference is shown where the adjusted p is below {SIGNIFICANCE}"
    return Table("answer", caption, frame, columns)


def _comparisons(evidence: Evidence, family: str) -> dict:
    """Outcome -> row of COMPARISONS: the chosen arm on test images, all training data, the study's own split."""
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
    claim = f"a gain of {100 * low:.0f} to {100 * high:.0f} points of accuracy"
    if pd.isna(row.ci_low):
        return f"{claim}: cannot be checked without an interval"
    if row.ci_low <= low and high <= row.ci_high:
        return f"{claim}: inside our interval"
    if low > row.ci_high:
        return f"{claim}: above our interval"
    return f"{claim}: {'below' if high < row.ci_low else 'partly inside'} our interval"


def longer_training(rows: dict) -> str:
    """Whether a gain is more than that of training on real images for as many steps."""
    return LONGER_TRAINING[directions(rows)] if set(rows) == set(OUTCOMES) else "not compared with repeated real images"


def _unanswered(evidence: Evidence) -> str:
    if evidence.best_of_search is None or evidence.baseline is None:
        return "Not answered yet: the search needs a completed trial with and one without synthetic images."
    return f"Not answered yet: each trial has one seed so far; `{CONFIRM}` repeats the best over seeds."


def _searched(evidence: Evidence) -> list[tuple[str, str]]:
    best, baseline = evidence.best_of_search, evidence.baseline
    if best is None or baseline is None:
        return []
    return [
        ("best of the search", f"{best.trial_id}, synthetic ratio {best.synthetic_ratio:g}: {_scores(best)}"),
        ("real images alone", _scores(baseline)),
    ]


def _scores(trial: pd.Series) -> str:
    return (
        f"test accuracy {trial.test_accuracy:.3f}, AUROC {trial.test_auroc:.3f} "
        f"({trial.test_num_images:.0f} images, {trial.test_num_positive:.0f} positive, one seed)"
    )


def image_quality(evidence: Evidence) -> str:
    """How far the synthetic images are from real ones, beside the distance of real images to real images."""
    rows, best = audited(evidence), evidence.best_of_search
    if len(rows):
        gan = subject(evidence, rows)
        ours = rows[rows["model"] == gan]
        distance, first, seeds = mean_sd(ours["frechet_distance"], ".1f"), ours.iloc[0], len(ours)
        return _distance(gan, distance, seeds, "held-out", first, ours["frechet_floor"].mean())
    if best is None or pd.isna(best.frechet_distance):
        return "no GAN has been measured"
    return _distance(best.trial_id, f"{best.frechet_distance:.1f}", 1, "validation", best, best.frechet_floor)


def _distance(gan: str, distance: str, num_seeds: int, side: str, row, floor: float) -> str:
    return (
        f"GAN {gan}: Frechet distance {distance} over {num_seeds} seed{'s' * (num_seeds > 1)} to {side} images; "
        f"real to real images {floor:.1f} ({row.feature_extractor}, {row.num_real:.0f} real and "
        f"{row.num_fake:.0f} synthetic)"
    )


def audit_finding(evidence: Evidence) -> str:
    """How many of the audited GANs copy training images or have collapsed."""
    rows = audited(evidence)
    if rows.empty:
        return f"copies and collapse were not looked for yet: {AUDIT}"
    flagged = rows[rows["verdict"] != HONEST]
    if flagged.empty:
        return f"none of {len(rows)} audited GANs copies training images or has collapsed"
    named = ", ".join(f"{row.model} seed {row.seed:.0f} {row.verdict}" for row in flagged.itertuples())
    return f"{len(flagged)} of {len(rows)} audited GANs flagged: {named}"


def audited(evidence: Evidence) -> pd.DataFrame:
    """Rows of GENERATOR_METRICS for both classes together in the study's own features, with the column model."""
    extractor = evidence.trials["feature_extractor"].iloc[0]
    rows = select(evidence.generator_metrics, label=None, feature_extractor=extractor)
    if len(evidence.main):  # not of parts of the data, of the other split, or of the search's seed
        rows = rows[rows["gan_key"].isin(evidence.main["gan_key"])]
    return rows.assign(model=rows["confirms"].fillna(rows["trial_id"]))


def subject(evidence: Evidence, rows: pd.DataFrame) -> str:
    """The GAN to report on: the chosen one, else that of the best trial, else the first audited."""
    wanted = [evidence.choice and evidence.choice.gan]
    wanted += [] if evidence.best_of_search is None else [evidence.best_of_search["trial_id"]]
    return next((gan for gan in wanted if gan in set(rows["model"])), rows["model"].iloc[0])


def mean_sd(values: pd.Series, spec: str) -> str:
    """ "12.3 ± 0.4", the deviation over seeds; without it for one value."""
    mean = format(values.mean(), spec)
    return mean if len(values) < 2 else f"{mean} ± {format(values.std(), spec)}"


def limits(evidence: Evidence) -> list[str]:
    """What the study's numbers do not allow to conclude, each with its reason."""
    trial = evidence.trials.iloc[0]
    features = trial["feature_extractor"]
    classes = f"{trial['positive_class']} and {trial['negative_class']}"
    is_infection = "infect" in str(trial["positive_class"]).casefold()
    found = {
        "anything about wounds: the images are rendered phantoms with made-up labels": trial["is_sample_data"],
        f"anything about infection: the classes are {classes}": not (trial["is_sample_data"] or is_infection),
        "how well new patients are diagnosed: copies of a wound may lie on both sides of a random split":
            evidence.protocol == "random",
        **dict.fromkeys(_leakage(evidence), True),
        "that another training would give the same result: each arm was trained with one seed":
            evidence.choice and evidence.choice.num_seeds == 1,
        "that one trial is better than another: the best of many trials with one seed each is partly luck":
            evidence.choice is None,
        f"that the images are better or worse than the paper's: a Frechet distance in {features} features is no FID":
            features != SETTINGS["feature_extractor"],
        "that a clinician would accept the images: none was asked": True,
    }  # fmt: skip
    return [text for text, applies in found.items() if applies]


def _leakage(evidence: Evidence) -> list[str]:
    rows = select(evidence.comparisons, family="leakage", metric="auroc", side="test").itertuples()
    return [
        f"anything from scores under a random split: it changes the AUROC of {arm_name(row.arm_b)} by "
        f"{difference(row)} ({interval(row)})"
        for row in list(rows)[:1]
    ]
