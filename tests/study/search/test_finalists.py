"""Which trials are repeated at the end of a search, when, and what an interruption leaves of it."""

import random

import pytest

from results.tables.schema import FINALIST
from study.diagnosis.train import seed_of
from study.search.finalists import REPEATS, Finalists, num_finalists, repeat_id
from study.search.proposer import Search
from tests.support.trainings import SMOKE

TRIALS = 12


def new_search(folder, rows=None, remaining=TRIALS + 1, finalists=3):
    folder.mkdir(exist_ok=True)
    chosen = Finalists.of_search(finalists, rows or {}, remaining > 0)
    return Search(folder, SMOKE, {}, "auroc", rows or {}, (), remaining, chosen)


def result_of(proposal, score):
    """The columns of a completed trial that a search needs."""
    gan = str(proposal.config.gan_key("data", "code")) if proposal.config.uses_gan else None
    return {"trial_id": proposal.trial_id, "phase": proposal.phase, "status": "completed", "gan_key": gan,
            "validation_auroc": score, "frechet_distance": 1.0, "gan_reused": False, "gan_seconds": 100.0,
            "classifier_seconds": 10.0}  # fmt: skip


def run(search, score, most=1000):
    """Ask for trials and end each at once with the score that `score` gives it; returns the proposals."""
    proposals = []
    while len(proposals) < most and (proposal := search.ask()):
        proposals.append(proposal)
        search.tell(proposal.number, "completed", result_of(proposal, score(proposal)))
    return proposals


def test_the_best_are_repeated_after_the_last_trial(tmp_path):
    lots = random.Random(0)
    proposals = run(new_search(tmp_path), lambda proposal: 0.7 + 0.2 * lots.random())
    searched, repeats = proposals[: TRIALS + 1], proposals[TRIALS + 1 :]
    assert {proposal.phase for proposal in searched} == {"baseline", "paper", "search"}
    assert {proposal.phase for proposal in repeats} == {FINALIST} and len(repeats) == 3 * REPEATS
    by_id = {proposal.trial_id: proposal for proposal in searched}
    for proposal in repeats:
        source = by_id[proposal.columns["confirms"]]
        number = proposal.config.classifier_seed
        assert proposal.trial_id == repeat_id(source.trial_id, number) and 1 <= number <= REPEATS
        assert proposal.config == source.config.model_copy(update={"classifier_seed": number})
        assert proposal.config.gan_key("d", "c") == source.config.gan_key("d", "c"), "the same GAN, and images"
        assert proposal.number is None and not proposal.stoppable and not proposal.of_the_search
    assert len({proposal.trial_id for proposal in repeats}) == len(repeats)
    assert "baseline-000" not in {proposal.columns["confirms"] for proposal in repeats}


def test_repeats_go_to_those_that_are_best_by_then(tmp_path):
    """A lucky trial falls behind after its first repeat, and another takes its place."""
    search = new_search(tmp_path, finalists=1)
    first = {f"search-{number:03d}": 0.8 + 0.001 * number for number in range(20)}
    lucky = "search-006"

    def score(proposal):
        if proposal.phase == FINALIST:
            return 0.5 if proposal.columns["confirms"] == lucky else 0.82
        return 0.99 if proposal.trial_id == lucky else first.get(proposal.trial_id, 0.6)

    repeated = [one.columns["confirms"] for one in run(search, score) if one.phase == FINALIST]
    assert repeated[0] == lucky and repeated.count(lucky) == 1 and len(repeated) == REPEATS
    assert search.finalists.left(goes_on=False) == 0, "no more than was planned, even if another would be the best now"


def test_an_interrupted_search_goes_on_with_the_repeats_that_are_missing(tmp_path):
    whole, part = (new_search(tmp_path / name) for name in ("whole", "part"))
    rows, scores = {}, {}

    def score(proposal):
        scores[proposal.trial_id] = value = 0.7 + random.Random(proposal.trial_id).random() / 10
        return value

    everything = run(whole, score)
    for proposal in run(part, score, TRIALS + 1 + 4):
        columns = {name: getattr(proposal.config, name) for name in ("synthetic_ratio", "backbone")}
        rows[proposal.trial_id] = result_of(proposal, scores[proposal.trial_id]) | columns
    lost = next(name for name in rows if name.startswith(FINALIST))
    del rows[lost]  # its command was killed
    rest = run(new_search(tmp_path / "part", rows, remaining=0), score)
    known = {proposal.trial_id for proposal in everything}
    assert lost in {proposal.trial_id for proposal in rest}
    assert {*rows, *(proposal.trial_id for proposal in rest)} >= known
    assert not rows.keys() & {proposal.trial_id for proposal in rest}
    ended = rows | {one.trial_id: result_of(one, scores[one.trial_id]) for one in rest}
    assert Finalists.of_search(3, ended, goes_on=False).left(goes_on=False) == 0
    assert new_search(tmp_path / "part", ended, remaining=0).ask() is None


def test_an_extended_search_repeats_its_best_anew_also_after_an_interruption(tmp_path):
    rows, most = {}, None

    def go_on(remaining, num=1000):
        """Run so many trials; returns how many were repeats, and how many repeats are then left."""
        nonlocal most
        finalists = Finalists.of_search(3, rows, remaining > 0, most)
        search, most = Search(tmp_path, SMOKE, {}, "auroc", rows, (), remaining, finalists), finalists.most
        for proposal in run(search, lambda one: 0.7 + 0.01 * (one.number or 0), num):
            rows[proposal.trial_id] = result_of(proposal, 0.7 + 0.01 * (proposal.number or 0))
        repeats = sum(row["phase"] == FINALIST for row in rows.values())
        return repeats, Finalists.of_search(3, rows, False, most).left(goes_on=False)

    assert go_on(TRIALS + 1) == (9, 0)
    assert go_on(6, num=6 + 4) == (9 + 4, 5), "the new trials are better, and are repeated in their turn"
    assert go_on(0) == (9 + 9, 0)


def test_with_a_deadline_the_repeats_end_before_it(tmp_path):
    """Trials of 110 s one after another: the repeats begin while they still fit, and the search goes on after them."""
    search, now = new_search(tmp_path, remaining=1000, finalists=2), 0.0
    search.finish_by(2000.0, 1, lambda: now)
    phases = []
    while now < 2000:
        proposal = search.ask()
        phases.append(proposal.phase)
        now += 10.0 if proposal.phase in (FINALIST, "baseline") else 110.0
        if now <= 2000:
            search.tell(proposal.number, "completed", result_of(proposal, 0.8 + 0.001 * len(phases)))
    repeats = [place for place, phase in enumerate(phases) if phase == FINALIST]
    assert len(repeats) == 2 * REPEATS and repeats == list(range(repeats[0], repeats[0] + len(repeats)))
    assert len(phases) - 2 <= repeats[-1] + 1 <= len(phases)


@pytest.mark.parametrize(("trials", "finalists"), [(1, 0), (5, 0), (6, 2), (9, 3), (40, 5), (1000, 5)])
def test_a_small_search_has_fewer_finalists(trials, finalists):
    assert num_finalists(trials) == finalists


def test_nothing_is_repeated_without_a_gan_or_where_nobody_asks(tmp_path):
    proposals = run(new_search(tmp_path / "none", finalists=0), lambda proposal: 0.9)
    assert len(proposals) == TRIALS + 1
    search = new_search(tmp_path / "failed", finalists=3)
    while proposal := search.ask():
        assert proposal.phase != FINALIST
        search.tell(proposal.number, "failed", {"trial_id": proposal.trial_id})


def test_each_repeat_has_a_seed_of_its_own_and_the_first_training_keeps_the_trials():
    seeds = [seed_of(SMOKE.model_copy(update={"classifier_seed": number})) for number in range(REPEATS + 1)]
    assert seeds[0] == SMOKE.seed and len(set(seeds)) == len(seeds)
    assert SMOKE.classifier_key == SMOKE.model_copy(update={"classifier_seed": 1}).classifier_key
