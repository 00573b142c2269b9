"""The study's answer: the verdict in one line, the numbers behind it, and what may not be concluded."""

from dataclasses import dataclass

import pandas as pd

from results.page.generator import audit_finding, image_quality
from results.page.parts import CONFIRM, MISSING, Table
from results.stats.evidence import Evidence, arm_name, select
from results.tables.published import SETTINGS, claimed_gain

# Accuracy and AUROC share a family-wise error of 5 %. The p-values are already adjusted over arms.
SIGNIFICANCE = 0.05 / 2
OUTCOMES = {"accuracy": "accuracy", "auroc": "AUROC"}
UNITS = {"accuracy": (100, "+.1f", " points"), "auroc": (1, "+.3f", "")}  # scale, format, unit of a difference
# The directions that the two outcomes show -> the verdict, and the comparison with repeated real images.
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
    frozenset({1, -1}): "accuracy and AUROC disagree on real images repeated for as many steps",
}


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
        return [table for table in (self.differences, facts) if table]


def answer(evidence: Evidence) -> Answer:
    """Whether synthetic images help, for the arm that validation chose."""
    families = ("synthetic against real", "against oversampled")
    against_real, oversampled = (_comparisons(evidence, family) for family in families)
    quality = [("image quality", image_quality(evidence)), ("audit", audit_finding(evidence))]
    if set(against_real) != set(OUTCOMES):
        return Answer(*_unanswered(evidence, quality), limits(evidence))
    choice, row = evidence.choice, against_real["accuracy"]
    longer = "not compared with repeated real images"
    if set(oversampled) == set(OUTCOMES):
        longer = LONGER_TRAINING[directions(oversampled)]
    facts = [
        ("arm", f"{arm_name(choice.arm)}, GAN {choice.gan}: the best of {choice.num_arms} such arms on validation"),
        ("test images", f"{row.num_images} images in {row.num_groups} groups, {row.num_seeds} seeds"),
        ("paper's claim", _claim(row)),
        ("longer training", longer),
    ]
    rows = [*against_real.values(), *oversampled.values()]
    return Answer(verdict(against_real), _differences(rows), facts + quality, limits(evidence))


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


def _unanswered(evidence: Evidence, quality: list) -> tuple[str, None, list]:
    """Verdict, differences and facts before the arms were repeated over seeds."""
    best, baseline = evidence.best_of_search, evidence.baseline
    if best is None or baseline is None:
        reason = "the search needs a completed trial with and one without synthetic images."
        return f"Not answered yet: {reason}", None, quality
    best_name = f"{best.trial_id}, synthetic ratio {best.synthetic_ratio:g}"
    facts = [("best of the search", f"{best_name}: {_scores(best)}"), ("real images alone", _scores(baseline))]
    reason = f"each trial has one seed so far; `{CONFIRM}` repeats the best over seeds."
    return f"Not answered yet: {reason}", None, facts + quality


def _scores(trial: pd.Series) -> str:
    images = f"{trial.test_num_images:.0f} images, {trial.test_num_positive:.0f} positive, one seed"
    return f"test accuracy {trial.test_accuracy:.3f}, AUROC {trial.test_auroc:.3f} ({images})"


def verdict(rows: dict) -> str:
    """One line: the outcomes that show a difference, or accuracy where none does. `rows`: outcome -> COMPARISONS."""
    shown = [row for row in rows.values() if direction(row)] or [rows["accuracy"]]
    outcomes = " and ".join(f"{OUTCOMES[row.metric]} {difference(row)} ({interval(row)})" for row in shown)
    seeds = f"{shown[0].num_seeds} seed{'s' * (shown[0].num_seeds > 1)}"
    return f"{HEADLINES[directions(rows)]}: {outcomes}, {seeds}, {shown[0].num_images} test images."


def direction(row) -> int:
    """1 or -1 where a row of COMPARISONS shows a difference, else 0; one seed shows none."""
    clear = row.num_seeds > 1 and row.p_adjusted < SIGNIFICANCE and (row.ci_low > 0 or row.ci_high < 0)
    return int(clear) * (1 if row.difference > 0 else -1)


def directions(rows: dict) -> frozenset[int]:
    return frozenset(filter(None, map(direction, rows.values())))


def difference(row) -> str:
    scale, spec, unit = UNITS[row.metric]
    return f"{scale * row.difference:{spec}}{unit}"


def ends(row) -> str:
    """The interval of a row of COMPARISONS; "-" for too few groups, or where all replicates are alike."""
    scale, spec, _ = UNITS[row.metric]
    return MISSING if pd.isna(row.ci_low) else f"{scale * row.ci_low:{spec}} to {scale * row.ci_high:{spec}}"


def interval(row) -> str:
    return "no 95 % interval" if pd.isna(row.ci_low) else f"95 % interval {ends(row)}"


def p_value(row) -> str:
    if pd.isna(row.p_adjusted):
        return MISSING
    return "< 0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"


def _differences(rows: list) -> Table:
    frame = pd.DataFrame(
        {"outcome": OUTCOMES[row.metric], "reference": arm_name(row.arm_b), "difference": difference(row),
         "interval": ends(row), "p": p_value(row), "shown": f"{difference(row)}\n({ends(row)})"}
        for row in rows
    )  # fmt: skip
    columns = (("outcome", "outcome", "s"), ("compared with", "reference", "s"),
               ("difference (95 % interval)", "shown", "s"), ("adjusted p", "p", "s"))  # fmt: skip
    caption = f"The chosen arm on test images; an adjusted p below {SIGNIFICANCE} shows a difference"
    return Table("answer", caption, frame, columns)


def _claim(row) -> str:
    low, high = claimed_gain()
    claim = f"a gain of {100 * low:.0f} to {100 * high:.0f} points of accuracy"
    if pd.isna(row.ci_low):
        return f"{claim}: cannot be checked without an interval"
    places = {"inside": row.ci_low <= low and high <= row.ci_high, "above": low > row.ci_high,
              "below": high < row.ci_low, "partly inside": True}  # fmt: skip
    return f"{claim}: {next(place for place, is_so in places.items() if is_so)} our interval"


def limits(evidence: Evidence) -> list[str]:
    """What the study's numbers do not allow to conclude, each with its reason."""
    trial, choice = evidence.trials.iloc[0], evidence.choice
    features, is_sample = trial["feature_extractor"], trial["is_sample_data"]
    is_infection = "infect" in str(trial["positive_class"]).casefold()
    leakage = list(select(evidence.comparisons, family="leakage", metric="auroc", side="test").itertuples())[:1]
    found = {
        "anything about wounds: the images are rendered phantoms with made-up labels": is_sample,
        f"anything about infection: the classes are {trial['positive_class']} and {trial['negative_class']}":
            not (is_sample or is_infection),
        "how well new patients are diagnosed: copies of a wound may lie on both sides of a random split":
            evidence.protocol == "random",
        **{f"anything from scores under a random split: it changes the AUROC of {arm_name(row.arm_b)} by "
           f"{difference(row)} ({interval(row)})": True for row in leakage},
        "that another training would give the same result: each arm was trained with one seed":
            choice and choice.num_seeds == 1,
        "that one trial is better than another: the best of many trials with one seed each is partly luck":
            choice is None,
        f"that the images are better or worse than the paper's: a Frechet distance in {features} features is no FID":
            features != SETTINGS["feature_extractor"],
        "that a clinician would accept the images: none was asked": True,
    }  # fmt: skip
    return [text for text, applies in found.items() if applies]
