"""The study's answer: the verdict in one line, the numbers behind it, and what may not be concluded."""

from dataclasses import dataclass

import pandas as pd

from results.page.generator import audit_finding, image_quality
from results.page.parts import CONFIRM, MISSING, Table
from results.stats.evidence import Evidence, arm_name, select
from results.stats.power import SIGNIFICANCE, detectable_gain
from results.tables.attempts import runs_again
from results.tables.published import SETTINGS, claimed_gain

TESTED = ["num_leaked_test", "test_num_images"]
OUTCOMES = {"accuracy": "accuracy", "auroc": "AUROC"}
UNITS = {"accuracy": (100, "+.1f", " points"), "auroc": (1, "+.3f", "")}  # scale, format, unit of a difference
# The directions that the two outcomes show -> the verdict, and the comparison with repeated real images.
HEADLINES = {
    frozenset(): "No measurable gain",
    frozenset({1}): "Synthetic images helped",
    frozenset({-1}): "Synthetic images harmed",
    frozenset({1, -1}): "Synthetic images helped in one outcome and harmed in the other",
}
# A gain over real images alone that repeated real images may explain.
NO_MORE_THAN_LONGER = "Better than real images alone, but not shown to be more than longer training"
UNDECIDED = "Not decided: too little to see or to exclude a gain of {} points, the least that the paper claims"
UNKNOWN = "No verdict: a class of the test images lies in too few groups"
LONGER_TRAINING = {
    frozenset(): "no difference shown to real images repeated for as many steps",
    frozenset({1}): "the gain is larger than that of real images repeated for as many steps",
    frozenset({-1}): "real images repeated for as many steps do better",
    frozenset({1, -1}): "accuracy and AUROC disagree on real images repeated for as many steps",
}


@dataclass(frozen=True)
class Answer:
    """`lines`: verdict, size with interval, what was compared. `facts` are (subject, text).

    `differences` is None where no arm was judged.
    """

    lines: list[str]
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
    """Whether synthetic images help, for the arm that validation chose, judged on seeds of their own."""
    families = ("synthetic against real", "against oversampled")
    against_real, oversampled = (_comparisons(evidence, family) for family in families)
    quality = [("image quality", image_quality(evidence)), ("audit", audit_finding(evidence))]
    ended, planned = evidence.judging  # their number was fixed before the first: no look in between
    if set(against_real) != set(OUTCOMES) or ended < planned:
        return Answer(*_unanswered(evidence, quality), limits(evidence))
    choice, row = evidence.choice, against_real["accuracy"]
    longer = "not compared with repeated real images"
    if set(oversampled) == set(OUTCOMES):
        longer = LONGER_TRAINING[directions(oversampled)]
    facts = [
        ("choice of the arm", f"best of {choice.num_arms} on validation, with {choice.num_seeds} seeds of its own"),
        ("power", power(against_real)),
        ("paper's claim", _claim(row)),
        ("longer training", longer),
    ]
    rows = [*against_real.values(), *oversampled.values()]
    lines = [verdict(against_real, oversampled), size(against_real), basis(evidence, row)]
    return Answer(lines, _differences(rows), facts + quality, limits(evidence))


def _comparisons(evidence: Evidence, family: str) -> dict:
    """Outcome -> row of COMPARISONS: the chosen arm with the judging seeds on test images."""
    if evidence.choice is None:
        return {}
    rows = select(
        evidence.comparisons,
        phase="judge", family=family, side="test", training_fraction=1.0, split_protocol=evidence.protocol,
        gan=evidence.choice.gan, arm_a=evidence.choice.arm, classifier_key=evidence.choice.classifier_key,
    )  # fmt: skip
    return {row.metric: row for row in rows.itertuples() if row.metric in OUTCOMES}


def _unanswered(evidence: Evidence, quality: list) -> tuple[list[str], None, list]:
    """Lines, differences and facts before the chosen arm was judged."""
    best, baseline = evidence.best_of_search, evidence.baseline
    if best is None or baseline is None:
        reason = "The search needs a completed trial with and one without synthetic images."
        return ["Not answered yet", reason], None, quality
    best_name = f"{best.trial_id}, synthetic ratio {best.synthetic_ratio:g}"
    facts = [("best of the search", f"{best_name}: {_scores(best)}"), ("real images alone", _scores(baseline))]
    reason = f"Each trial has one seed so far; `{CONFIRM}` repeats the best over seeds and judges the arm it chooses."
    lost = sum(select(evidence.trials, phase="confirm")["reason"].map(runs_again))
    if choice := evidence.choice:
        facts.insert(0, ("chosen on validation", f"{arm_name(choice.arm)}, GAN {choice.gan}, {choice.num_seeds} seeds"))
        reason = f"The arm is chosen but not judged; `{CONFIRM}` goes on with seeds of their own, two at the least."
        ended, planned = evidence.judging
        if ended < planned:
            reason = f"{ended} of {planned} judging trials have ended; `{CONFIRM}` goes on."
        elif lost and not ended:
            reason = f"{lost} trials of the choice were lost to a machine; `{CONFIRM}` runs them again."
        elif ended and len(evidence.judged) == ended:
            reason = f"All judging trials have ended and are not compared yet; `{CONFIRM}` goes on."
        elif ended:
            reason = f"{ended - len(evidence.judged)} of {planned} judging trials failed: too few seeds."
    return ["Not answered yet", reason], None, facts + quality


def _scores(trial: pd.Series) -> str:
    images = f"{trial.test_num_images:.0f} images, {trial.test_num_positive:.0f} positive, one seed"
    return f"test accuracy {trial.test_accuracy:.3f}, AUROC {trial.test_auroc:.3f} ({images})"


def verdict(against_real: dict, oversampled: dict) -> str:
    """Both comparisons, outcome -> row of COMPARISONS, in a few words."""
    if any(pd.isna(row.standard_error) for row in against_real.values()):
        return UNKNOWN
    shown = directions(against_real)
    in_both = [name for name, row in against_real.items() if direction(row) == 1 and name in oversampled
               and direction(oversampled[name]) == 1]  # fmt: skip
    if shown == {1} and (not in_both or directions(oversampled) != {1}):
        return NO_MORE_THAN_LONGER
    claim, _ = claimed_gain()
    if not shown and not against_real["accuracy"].ci_high < claim:
        return UNDECIDED.format(f"{100 * claim:.0f}")
    return HEADLINES[shown]


def size(rows: dict) -> str:
    """Both differences with their intervals."""
    parts = [f"{OUTCOMES[name]} {difference(rows[name])} ({interval(rows[name])})" for name in OUTCOMES]
    return f"{parts[0][0].upper()}{parts[0][1:]}, {parts[1]}."


def basis(evidence: Evidence, row) -> str:
    """What was compared with what, on how much."""
    choice, planned = evidence.choice, evidence.judged["num_judging_seeds"].max()
    fewer = f" (of {planned:.0f}; the others failed or were lost)" if row.num_seeds < planned else ""
    return (
        f"Compared: {arm_name(choice.arm)} (GAN {choice.gan}) with real images alone, on {row.num_images} test images "
        f"in {row.num_groups} groups, with {row.num_seeds} seeds{fewer} that took no part in the choice."
    )


def power(rows: dict) -> str:
    """The gains that the study would have shown in four of five tries."""
    measured = {name: row for name, row in rows.items() if pd.notna(row.degrees_of_freedom)}
    if not measured:
        return "not known: the differences have no error that tells of others"
    gains = {name: detectable_gain(row.standard_error, row.degrees_of_freedom) for name, row in measured.items()}
    parts = [amount(name, gain).lstrip("+") + f" of {OUTCOMES[name]}" for name, gain in gains.items()]
    return f"a gain of {' or '.join(parts)} would have been seen in four of five tries"


def direction(row) -> int:
    """1 or -1 where a row of COMPARISONS shows a difference, else 0; too few groups for an interval show none."""
    clear = pd.notna(row.ci_low) and row.p_adjusted < SIGNIFICANCE
    return int(clear) * (1 if row.difference > 0 else -1)


def directions(rows: dict) -> frozenset[int]:
    return frozenset(filter(None, map(direction, rows.values())))


def difference(row) -> str:
    return amount(row.metric, row.difference)


def amount(metric: str, value: float) -> str:
    scale, spec, unit = UNITS[metric]
    return f"{scale * value:{spec}}{unit}"


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
    caption = f"The chosen arm, judging seeds, test images; an adjusted p below {SIGNIFICANCE} shows a difference"
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
    leaked, tested = select(evidence.trials, split_protocol=evidence.protocol)[TESTED].max()
    leakage = list(select(evidence.comparisons, family="leakage", metric="auroc", side="test").itertuples())[:1]
    found = {
        "anything about wounds: the images are rendered phantoms with made-up labels": is_sample,
        f"anything about infection: the classes are {trial['positive_class']} and {trial['negative_class']}":
            not (is_sample or is_infection),
        "how well new patients are diagnosed: copies of a wound may lie on both sides of a random split":
            evidence.protocol == "random",
        f"how well new patients are diagnosed: {leaked:.0f} of {tested:.0f} test images have their group or a copy in "
        "training, as the sides were given": evidence.protocol == "given" and leaked > 0,
        **{f"anything from scores under a random split: it changes the AUROC of {arm_name(row.arm_b)} by "
           f"{difference(row)} ({interval(row)})": True for row in leakage},
        "that one trial is better than another: the best of many trials with one seed each is partly luck":
            choice is None,
        "that the chosen arm is better than real images: its choice and its scores have the same luck":
            choice and evidence.judged.empty,
        f"that the images are better or worse than the paper's: a Frechet distance in {features} features is no FID":
            features != SETTINGS["feature_extractor"],
        "that a clinician would accept the images: none was asked": True,
    }  # fmt: skip
    return [text for text, applies in found.items() if applies]
