"""All tables of a study, and the arms chosen from them: always on validation, never on test."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from results.stats.comparisons import compare
from results.stats.estimates import estimate
from results.stats.repeated import worth_of_trials
from results.stats.scores import collect_scores
from results.tables.attempts import done
from results.tables.schema import COMPARISONS, ESTIMATES, EVIDENCE, FINALIST, FINDINGS, HONEST, REPEATED
from results.tables.store import TableError, check_study, read_table, read_trials, write_rows

JUDGED_ARMS = 3  # the chosen one, real images, and repeated real images
CHOICE = ["confirms", "arm", "classifier_key"]
ARM_NAMES = {
    "real_and_synthetic_": "real + synthetic, ratio ",
    "synthetic_only_": "synthetic only, ratio ",
    "real_oversampled_": "real repeated, ratio ",
    "real_unaugmented": "real, not augmented",
    "real_balanced_oversampled": "real, rarer class repeated",
    "real_balanced_class_weights": "real, class weights",
    "real_balanced_focal": "real, focal loss",
    "real_balanced_synthetic": "real, rarer class filled with synthetic",
    "_kept_": ", kept ",
}


@dataclass(frozen=True)
class Choice:
    """The arm that adds synthetic images and was best on validation over `num_seeds` seeds, of `num_arms` such arms."""

    gan: str
    arm: str
    classifier_key: str
    num_arms: int
    num_seeds: int


@dataclass(frozen=True)
class Evidence:
    """The tables of one study as `results.tables.store` reads them."""

    study: Path
    trials: pd.DataFrame
    history: pd.DataFrame
    predictions: pd.DataFrame
    generator_metrics: pd.DataFrame
    neighbours: pd.DataFrame
    attributes: pd.DataFrame
    estimates: pd.DataFrame
    comparisons: pd.DataFrame

    @cached_property
    def searched(self) -> pd.DataFrame:
        """Trials of the search, the baseline and the paper's configurations, ended in any way."""
        return self.trials[~self.trials["phase"].isin(REPEATED)]

    @cached_property
    def completed(self) -> pd.DataFrame:
        """Completed trials, without what finalists repeated."""
        return self.trials[(self.trials["status"] == "completed") & (self.trials["phase"] != FINALIST)]

    @cached_property
    def protocol(self) -> str:
        """The study's own split protocol; rows about leakage also have the other one."""
        return (self.searched if len(self.searched) else self.trials)["split_protocol"].iloc[0]

    @cached_property
    def main(self) -> pd.DataFrame:
        """Confirmed trials on all training data under the study's own split."""
        return select(self.completed, phase="confirm", training_fraction=1.0, split_protocol=self.protocol)

    @cached_property
    def choice(self) -> Choice | None:
        """The best arm by mean validation AUROC over seeds; None where nothing was confirmed.

        Only arms with the most seeds compete: an arm whose unlucky seeds diverged is not chosen for its lucky ones.
        Once an arm has been judged, it stays the chosen one: another choice after a look at test images would not be
        independent of them, and so are arms that came later.
        """
        arms = self.main[self.main["arm"].str.startswith("real_and_synthetic", na=False)]
        if len(self.judged):
            arms = arms[arms["started_at"] <= select(self.trials, phase="judge")["started_at"].min()]
        scores = arms.groupby(CHOICE)["validation_auroc"].agg(["mean", "count"])
        judged = self.judged.dropna(subset="confirms")
        if len(judged):
            chosen = tuple(judged.iloc[0][CHOICE])
            return Choice(*chosen, num_arms=len(scores), num_seeds=int(scores["count"].get(chosen, 0)))
        whole = scores[scores["count"] == scores["count"].max()]
        if whole["mean"].isna().all():
            return None
        return Choice(*whole["mean"].idxmax(), num_arms=len(scores), num_seeds=int(whole["count"].iloc[0]))

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Completed trials with the judging seeds."""
        return select(self.completed, phase="judge")

    @cached_property
    def judging(self) -> tuple[int, int]:
        """How many trials of the judgement have ended and do not run again, and how many were planned."""
        begun = select(self.trials, phase="judge")
        return len(done(begun)), int(JUDGED_ARMS * begun["num_judging_seeds"].max()) if len(begun) else 0

    @cached_property
    def best_of_search(self) -> pd.Series | None:
        """The searched trial with synthetic images that is best on validation, as the leaderboard ranks (one seed)."""
        trials = select(self.searched, status="completed").join(worth_of_trials(self.trials), on="trial_id")
        trials = trials[trials["synthetic_ratio"] > 0].dropna(subset="estimate").sort_values("trial_id")
        return trials.loc[trials["estimate"].idxmax()] if len(trials) else None

    @cached_property
    def baseline(self) -> pd.Series | None:
        """The search's trial on real images alone."""
        trials = select(self.completed, phase="baseline")
        return trials.iloc[0] if len(trials) else None

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """Key of each audited GAN -> what was found of it in the features of all networks."""
        audits = select(self.generator_metrics, label=None).groupby("gan_key")
        return {
            key: verdict_in_words(dict(zip(rows["feature_extractor"], rows["verdict"], strict=True)))
            for key, rows in audits
        }

    @cached_property
    def classifiers(self) -> dict[str, str]:
        """Key -> name of each classifier that was trained, the baseline's first."""
        trials = self.trials.sort_values("phase", key=lambda phases: phases != "baseline", kind="stable")
        known = trials.drop_duplicates("classifier_key").set_index("classifier_key")["classifier"]
        return {key: key if pd.isna(name) else name for key, name in known.items() if pd.notna(key)}

    @cached_property
    def contrasted_arms(self) -> list[str]:
        """Real images, the chosen arm and synthetic images alone, if confirmed."""
        if self.choice is None:
            return []
        arms = ["real", self.choice.arm]
        arms += sorted(arm for arm in self.main["arm"].unique() if arm.startswith("synthetic_only"))
        return [arm for arm in arms if len(self.of_arm(self.main, arm))]

    @cached_property
    def contrasts(self) -> dict[str, pd.DataFrame]:
        """The arms that the curves compare: name -> its trials, one per seed. Real images come first."""
        if self.choice:
            return {arm_name(arm): self.of_arm(self.main, arm) for arm in self.contrasted_arms}
        single = {"real (one seed)": self.baseline, "best of the search (one seed)": self.best_of_search}
        return {name: trial.to_frame().T for name, trial in single.items() if trial is not None}

    def of_arm(self, frame: pd.DataFrame, arm: str) -> pd.DataFrame:
        """Rows of an arm that are comparable with the chosen arm: the same GAN or none, the same classifier."""
        gan = frame["confirms" if "confirms" in frame else "gan"]
        same = (frame["arm"] == arm) & (frame["classifier_key"] == self.choice.classifier_key)
        return frame[same & (gan.isna() | (gan == self.choice.gan))]


def select(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """Rows whose columns equal the values; None selects null."""
    for column, value in values.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    return frame


def verdict_in_words(verdicts: dict[str, str]) -> str:
    """The verdicts in the features of several networks as one: each finding, and who has it where not all have."""
    found = {finding: [name for name in verdicts if finding in verdicts[name].split("; ")] for finding in FINDINGS}
    parts = [
        finding if len(names) == len(verdicts) else f"{finding} (in features of {' and '.join(names)})"
        for finding, names in found.items()
        if names
    ]
    return "; ".join(parts) or HONEST


def arm_name(arm: str) -> str:
    """An arm in words: "real_and_synthetic_0.5" is "real + synthetic, ratio 0.5"; what follows the name stays."""
    for prefix, words in ARM_NAMES.items():
        arm = arm.replace(prefix, words)
    return arm


def write_evidence(study: Path) -> None:
    """Compute ESTIMATES and COMPARISONS from the study's predictions and replace both tables.

    Raises TableError for a study without predictions, and as `collect_scores`.
    """
    study = Path(study)
    predictions, trials = read_table(study, "predictions"), read_trials(study)
    if predictions.empty:
        raise TableError(f"{study}: no predictions yet; `python study/confirm.py {study}` makes them")
    arms = collect_scores(predictions, trials)
    write_rows(study / "estimates" / "estimates.parquet", estimate(arms, read_table(study, "attributes")), ESTIMATES)
    comparisons = compare([scores for scores in arms if scores.arm["phase"] in EVIDENCE])
    write_rows(study / "comparisons" / "comparisons.parquet", comparisons, COMPARISONS)


def read_evidence(study: Path) -> Evidence:
    """Raises TableError where the folder is no study, has no ended trial, or holds a damaged table."""
    study = Path(study)
    check_study(study)
    names = [name for name in Evidence.__dataclass_fields__ if name != "study"]
    evidence = Evidence(study, **{name: read_table(study, name) for name in names})
    if evidence.trials.empty:
        raise TableError(f"{study}: no trial has ended yet; `python study/run_sweep.py` runs trials")
    return evidence
