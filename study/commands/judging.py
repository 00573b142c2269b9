"""The judgement of a confirmation: the chosen arm with seeds of its own, and what gain they can show."""

from pathlib import Path

import pandas as pd

from results.stats.evidence import read_evidence
from results.stats.power import read_spread
from results.tables.attempts import runs_again
from study.commands.repeated import without_row
from study.config import TrialConfig
from study.errors import ConfigError
from study.search.confirmation import Protocol, judgement
from study.search.proposer import Proposal
from study.trial.record import row_config


def judging_proposals(study: Path, base: TrialConfig, num_judging: int, split: str) -> list[Proposal]:
    """Trials of the arm that validation chose which have no row yet; none where no arm can be chosen, or a trial that
    has a part in the choice is to run again."""
    evidence = read_evidence(study)
    choosing = evidence.trials[evidence.trials["phase"] == "confirm"]
    if evidence.choice is None or (evidence.judged.empty and choosing["reason"].map(runs_again).any()):
        return []
    alike = pd.concat([evidence.main, evidence.judged])  # on all training data, under the study's own split
    row = evidence.of_arm(alike, evidence.choice.arm).iloc[0]
    proposals = judgement(evidence.choice.gan, row_config(row.to_dict()), base, num_judging, split)
    return without_row(proposals, evidence.trials)


def check_judging(trials: pd.DataFrame, num_judging: int) -> None:
    """ConfigError for another number of judging seeds than the study has begun with."""
    begun = trials["num_judging_seeds"].dropna()
    if len(begun) and int(begun.iloc[0]) != num_judging:
        raise ConfigError(
            f"--judge-seeds {num_judging}: the study has been judged with {begun.iloc[0]:.0f}. A number that is chosen "
            f"after a look at the result errs more often; give --judge-seeds {begun.iloc[0]:.0f}"
        )


def judging_lines(study: Path, trials: pd.DataFrame, protocol: Protocol) -> list[str]:
    """What follows the choice of an arm, and the gains that it can show."""
    lines = [f"then         {protocol.num_judging} judging seeds of the chosen arm and of real images"]
    spread = read_spread(study, trials)
    if spread is None:
        return [*lines, "power        not known: the search has too few classifiers"]
    gain = spread.detectable(protocol.num_judging, protocol.num_seeds)
    lines.append(f"power        a gain of {100 * gain:.1f} points of accuracy is seen in four of five tries")
    for points in (1, 3, 8):
        needed = spread.seeds_needed(points / 100, protocol.num_seeds)
        answer = f"needs {needed} judging seeds" if needed else "cannot be seen with so few images"
        lines.append(f"  {points} point{'s' * (points > 1):<3} {answer}")
    return lines
