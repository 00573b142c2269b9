"""What is tried, in which order, and what an interruption leaves of it. Trials are simulated: none is run."""

import random
from collections import Counter

import pytest
from optuna.trial import TrialState

from results.page.search import OF_THE_CLASSIFIER
from study.config import PAPER_SYSTEMS, GanConfig, TrialConfig, make_config
from study.search.proposer import FAIR_SHARE, NEW_GAN_EVERY, OBJECTIVES, Search
from study.search.records import proposal_file
from study.search.space import NUISANCE, SCIENTIFIC, SPACE, generator_side, paper_configurations
from study.storage.sealed import read_json
from tests.support.trainings import SMOKE, new_search

NUM_SIMULATED = 60


def gan_of(proposal):
    return tuple(generator_side(proposal.config.model_dump()).items())


def results(lots):
    return {"frechet_distance": lots.uniform(50, 300), "validation_auroc": lots.uniform(0.5, 1)}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """(search, proposals, statuses): the baseline and 60 trials one after another, some GANs stopped early."""
    search, lots = new_search(tmp_path_factory.mktemp("study")), random.Random(0)
    proposals, statuses = [], []
    for _ in range(NUM_SIMULATED + 1):
        proposals.append(search.ask())
        statuses.append("pruned" if proposals[-1].stoppable and lots.random() < 0.3 else "completed")
        search.tell(proposals[-1].number, statuses[-1], results(lots))
    return search, proposals, statuses


def test_every_searched_parameter_is_a_config_field():
    assert SPACE.keys() <= TrialConfig.model_fields.keys() and not SCIENTIFIC.keys() & NUISANCE.keys()
    assert {name for name in SPACE if name not in GanConfig.model_fields} == OF_THE_CLASSIFIER
    for name, domain in SCIENTIFIC.items():
        for value in domain.values:
            assert getattr(make_config({name: value}), name) == value


def test_baseline_first_then_the_papers_configurations(simulated):
    _, proposals, _ = simulated
    baseline, *papers = proposals[: len(PAPER_SYSTEMS) + 1]
    assert baseline.number is None and baseline.trial_id == "baseline-000" and not baseline.config.uses_gan
    assert [paper.phase for paper in papers] == ["paper"] * len(PAPER_SYSTEMS)
    names = ("backbone", "lstm_depth", "penalty_weight", "synthetic_ratio")
    assert [tuple(getattr(paper.config, name) for name in names) for paper in papers] == [
        ("plain", 2, 10, 1), ("efficientnetv2_s", 2, 10, 1), ("efficientnetv2_m", 2, 10, 1), ("plain", 0, 10, 1)
    ]  # fmt: skip
    for paper in papers:
        assert all(getattr(paper.config, name) == getattr(SMOKE, name) for name in NUISANCE)
        assert not paper.stoppable


@pytest.mark.parametrize("name", SCIENTIFIC)
def test_scientific_values_get_their_share_before_the_search_prefers_any(simulated, name):
    """A new GAN has a value that lacks its share, as long as there is one."""
    proposals, values = simulated[1][1:], SCIENTIFIC[name].values
    counts = Counter()
    for proposal in proposals:
        lacking = {value for value in values if counts[value] < FAIR_SHARE}
        value = getattr(proposal.config, name)
        if proposal.phase == "search" and lacking and (proposal.stoppable or name == "synthetic_ratio"):
            assert value in lacking
        counts[value] += 1
    assert min(counts[value] for value in values) >= FAIR_SHARE


def test_the_search_prefers_what_has_scored_well(tmp_path):
    """Backbone and ratio decide the score, but for a little luck."""
    search, lots = new_search(tmp_path, objective="auroc", ended=["baseline-000"]), random.Random(0)
    good = []
    for _ in range(50):
        config = (proposal := search.ask()).config
        good.append((config.backbone == "efficientnetv2_s") + (config.synthetic_ratio == 2))
        score = 0.6 + 0.1 * good[-1] + 0.02 * lots.random()
        search.tell(proposal.number, "completed", {"frechet_distance": 100.0, "validation_auroc": score})
    assert sum(good[-25:]) / 25 > 1.5 > 2 * sum(good[:15]) / 15


def test_the_search_learns_from_the_gans_that_it_stopped(tmp_path):
    """After the paper's GANs all are stopped half-way; the backbone decides how far they have come."""
    search, lots = new_search(tmp_path, objective="frechet", ended=["baseline-000"]), random.Random(0)
    last = search.base.gan_epochs
    rows, chosen = {}, []
    for _ in range(40):
        backbone = (proposal := search.ask()).config.backbone
        status = "completed" if proposal.phase == "paper" else "pruned"
        key, distance = str(gan_of(proposal)), 100 + 50 * (backbone != "efficientnetv2_s") + lots.uniform(0, 20)
        for epoch in (last // 2, last)[: 1 + (status == "completed")]:
            search.rule.is_worse(key, epoch, distance * (2 if epoch < last else 1))
        columns = {"gan_key": key, "frechet_distance": distance, "validation_auroc": 0.9}
        search.tell(proposal.number, status, columns)
        rows[proposal.trial_id] = columns | {"status": status, "phase": proposal.phase}
        chosen.append(backbone == "efficientnetv2_s")
    assert sum(chosen[-20:]) > 12 > 2 * sum(chosen[:10])
    resumed = Search(tmp_path, search.base, {}, "frechet", rows)
    assert resumed.gan_keys == search.gan_keys


def test_nuisance_values_stay_in_their_domains(simulated):
    configs = [proposal.config for proposal in simulated[1][1:]]
    for name in ("generator_lr", "critic_lr"):
        allowed = {factor * getattr(SMOKE, name) for factor in NUISANCE[name].values}
        assert {getattr(config, name) for config in configs} <= allowed
    assert all(SMOKE.classifier_lr / 3 <= config.classifier_lr <= SMOKE.classifier_lr * 3 for config in configs)
    assert all(0 <= config.dropout <= 0.5 for config in configs)
    assert len({config.classifier_lr for config in configs}) > NUM_SIMULATED / 2


def test_only_searched_fields_move(simulated):
    still = TrialConfig.model_fields.keys() - SPACE.keys()
    for proposal in simulated[1]:
        assert all(getattr(proposal.config, name) == getattr(SMOKE, name) for name in still)


def test_finished_gans_are_used_again_between_new_ones_and_no_trial_is_run_twice(simulated):
    _, proposals, statuses = simulated
    finished, tried = set(), set()
    for place, (proposal, status) in enumerate(zip(proposals[1:], statuses[1:], strict=True)):
        if proposal.phase == "search":
            assert proposal.stoppable == ((place - 4) % NEW_GAN_EVERY == 0)
            assert proposal.stoppable or gan_of(proposal) in finished
        if status == "completed":
            finished.add(gan_of(proposal))
        tried.add(tuple(proposal.config.model_dump().items()))
    assert len(tried) == len(proposals) - 1


@pytest.mark.parametrize("objective", ["pareto", "frechet"])
def test_how_many_gans_are_left_is_known_before(tmp_path, objective):
    search, lots, left, seen = Search(tmp_path, SMOKE, {}, objective, {}, ("r3gan",), 30), random.Random(0), [], []
    while True:
        left.append(search.gans_left())
        if not (proposal := search.ask()):
            break
        seen.append(gan_of(proposal) if proposal.config.uses_gan else None)
        search.tell(proposal.number, "completed", results(lots) | {"trial_id": proposal.trial_id})
    assert left == [len(set(seen[place:]) - set(seen[:place]) - {None}) for place in range(31)]


def test_pruned_gans_are_not_used_again(simulated):
    _, proposals, statuses = simulated
    pruned = {gan_of(p) for p, status in zip(proposals, statuses, strict=True) if status == "pruned"}
    reused = {gan_of(p) for p in proposals if p.phase == "search" and not p.stoppable}
    assert len(pruned) >= 3 and len(reused) > 10 and not pruned & reused


def test_a_search_for_the_lowest_distance_trains_a_new_gan_each_time(tmp_path):
    """The same GAN with another ratio has the same distance."""
    search, lots = new_search(tmp_path, objective="frechet", ended=["baseline-000"]), random.Random(0)
    gans = set()
    for number in range(40):
        proposal = search.ask()
        assert proposal.phase == "paper" or proposal.stoppable
        gans.add(gan_of(proposal))
        assert len(gans) == number + 1
        search.tell(proposal.number, "completed", results(lots))


def test_optuna_knows_how_each_trial_ended(simulated):
    search, proposals, statuses = simulated
    states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    trials = search.study.get_trials()
    assert [trial.state for trial in trials] == [states[status] for status in statuses[1:]]
    assert [trial.number for trial in trials] == [proposal.number for proposal in proposals[1:]]
    assert not search.unfinished()
    ids = [proposal.trial_id for proposal in proposals]
    assert len(set(ids)) == len(ids) and ids[1] == "paper-000" and ids[5] == "search-004"


def test_two_at_once_share_no_number_and_no_untrained_gan(tmp_path):
    search = new_search(tmp_path)
    pairs = []
    for _ in range(6):
        pairs.append((search.ask(), search.ask()))
        for proposal in pairs[-1]:
            search.tell(proposal.number, "completed", {"frechet_distance": 1.0, "validation_auroc": 0.5})
    proposals = [proposal for pair in pairs for proposal in pair]
    assert len({proposal.trial_id for proposal in proposals}) == 12
    trained = set()
    for pair in pairs:
        assert all(gan_of(p) in trained for p in pair if p.phase == "search" and not p.stoppable)
        trained |= set(map(gan_of, pair))


@pytest.mark.parametrize(
    ("objective", "directions"),
    [("pareto", ["MINIMIZE", "MAXIMIZE"]), ("frechet", ["MINIMIZE"]), ("auroc", ["MAXIMIZE"])],
)
def test_objectives(tmp_path, objective, directions):
    search = new_search(tmp_path, objective=objective, ended=["baseline-000"])
    assert [direction.name for direction in search.study.directions] == directions
    search.tell(search.ask().number, "completed", {"frechet_distance": 99.0, "validation_auroc": 0.8})
    expected = {"frechet_distance": 99.0, "validation_auroc": 0.8}
    assert search.study.trials[0].values == [expected[column] for column, _ in OBJECTIVES[objective]]


@pytest.mark.parametrize(
    ("status", "result", "state"),
    [
        ("pruned", {"frechet_distance": 300.0}, TrialState.PRUNED),
        ("failed", {}, TrialState.FAIL),
        ("failed", {"frechet_distance": 300.0, "validation_auroc": 0.5}, TrialState.FAIL),
        ("completed", {"frechet_distance": 300.0, "validation_auroc": None}, TrialState.FAIL),
        ("completed", {"frechet_distance": float("nan"), "validation_auroc": 0.5}, TrialState.FAIL),
        ("completed", {}, TrialState.FAIL),
    ],
)
def test_no_end_leaves_a_trial_running(tmp_path, status, result, state):
    search = new_search(tmp_path, ended=["baseline-000"])
    number = search.ask().number
    search.tell(number, status, result)
    assert search.study.trials[number].state == state and not search.study.best_trials


def test_telling_twice_changes_nothing(tmp_path):
    search = new_search(tmp_path, ended=["baseline-000"])
    number = search.ask().number
    search.tell(number, "completed", {"frechet_distance": 1.0, "validation_auroc": 0.9})
    search.tell(number, "failed", {})
    search.tell(None, "completed", {"validation_auroc": 0.9})  # the baseline
    assert [trial.values for trial in search.study.trials] == [[1.0, 0.9]]


def test_resuming_proposes_the_unfinished_ones_again(tmp_path):
    first = new_search(tmp_path)
    asked = [first.ask() for _ in range(8)]
    told = {0, 2, 5}
    for index in told:
        first.tell(asked[index].number, "completed", {"frechet_distance": 1.0, "validation_auroc": 0.9})
    again = new_search(tmp_path, ended=[asked[index].trial_id for index in told])
    left = [proposal for index, proposal in enumerate(asked) if index not in told]
    assert [again.ask() for _ in left] == left
    assert again.ask().number == max(proposal.number for proposal in asked[1:]) + 1


def test_resuming_without_a_baseline_row_runs_it_first(tmp_path):
    new_search(tmp_path).ask()
    assert new_search(tmp_path).ask().trial_id == "baseline-000"


def test_a_resumed_search_draws_new_values(tmp_path):
    """A sampler seeded alike at each start would draw the same learning rates and dropouts again."""
    search, rows, seen = new_search(tmp_path, ended=["baseline-000"]), {}, []
    for _ in range(4):
        for _ in range(4):
            proposal = search.ask()
            seen.append((proposal.config.classifier_lr, proposal.config.dropout))
            rows[proposal.trial_id] = {"status": "failed", "phase": proposal.phase}
        search = new_search(tmp_path, ended=["baseline-000"], rows=rows)
    of_the_search = seen[len(PAPER_SYSTEMS) :]
    assert len(set(of_the_search)) == len(of_the_search) == 12


def test_same_seed_same_proposals(tmp_path):
    def configs(name, seed):
        (tmp_path / name).mkdir()
        search = new_search(tmp_path / name, base=SMOKE.model_copy(update={"seed": seed}))
        found = []
        for number in range(10):
            proposal = search.ask()
            search.tell(proposal.number, "completed", {"frechet_distance": 1.0 + number, "validation_auroc": 0.5})
            found.append(proposal.config.model_dump(exclude={"seed"}))
        return found

    first = configs("a", 1)
    assert configs("b", 1) == first
    assert configs("c", 2) != first


def test_what_is_set_leaves_the_space(tmp_path):
    fixed = {"lstm_depth": 3, "synthetic_ratio": 0.5, "dropout": 0.1}
    search = new_search(tmp_path, fixed, ended=["baseline-000"])
    proposals = [search.ask() for _ in range(7)]
    for proposal in proposals:
        assert {name: getattr(proposal.config, name) for name in fixed} == fixed
    assert all(not trial.params.keys() & fixed.keys() for trial in search.study.trials)
    assert [proposal.phase for proposal in proposals] == ["paper"] * 3 + ["search"] * 4  # one backbone each


def test_papers_configurations_without_repeats():
    assert len(paper_configurations(SMOKE, {})) == 4
    assert [c["lstm_depth"] for c in paper_configurations(SMOKE, {"backbone": "plain"})] == [2, 0]
    assert len(paper_configurations(SMOKE, {"backbone": "plain", "lstm_depth": 1})) == 1
    assert len(paper_configurations(SMOKE, dict.fromkeys(SPACE))) == 1


def test_no_trial_is_run_twice_before_all_have_run(tmp_path):
    """Only backbone and ratio are left: 12 trials, after which the search goes on."""
    free = ("backbone", "synthetic_ratio")
    fixed = {name: getattr(SMOKE, name) for name in SPACE if name not in free}
    search, tried = new_search(tmp_path, fixed, ended=["baseline-000"]), []
    for number in range(12):
        proposal = search.ask()
        tried.append(tuple(getattr(proposal.config, name) for name in free))
        search.tell(proposal.number, "completed", {"frechet_distance": 9.0, "validation_auroc": 0.5 + number / 100})
    assert len(set(tried)) == 12
    assert search.ask() is not None


def test_everything_set_still_searches(tmp_path):
    fixed = {name: getattr(SMOKE, name) for name in SPACE}
    search = new_search(tmp_path, fixed, ended=["baseline-000"])
    assert [search.ask().config for _ in range(3)] == [SMOKE] * 3


# ---- systems


def told(search, proposals: int, status: str = "completed"):
    """Proposals asked for and told one after another."""
    asked = []
    for _ in range(proposals):
        asked.append(search.ask())
        ended = {"trial_id": asked[-1].trial_id, "frechet_distance": 1.0, "validation_auroc": 0.5}
        search.tell(asked[-1].number, status, ended)
    return asked


def test_a_trained_system_is_used_with_several_ratios_and_its_gan_is_not_trained_again(tmp_path):
    search = new_search(tmp_path, systems=("principal", "r3gan"))
    asked = told(search, 60)
    assert [proposal.trial_id for proposal in asked[:3]] == ["baseline-000", "system-000", "system-002"]
    for name in ("principal", "r3gan"):
        uses = [proposal for proposal in asked[1:] if proposal.config.system == name]
        assert len({proposal.config.synthetic_ratio for proposal in uses}) >= 3
        assert {proposal.phase for proposal in uses[1:]} == {"search"} and len(set(map(gan_of, uses))) == 1
        assert not any(proposal.of_the_search or proposal.stoppable for proposal in uses)
        assert len({proposal.config.dropout for proposal in uses}) > 1  # classifiers differ
    assert all(proposal.of_the_search for proposal in asked if proposal.config.generator == "recurrent"
               and proposal.config.gan_objective == "wasserstein")  # fmt: skip
    assert {trial.params.get("system") for trial in search.study.get_trials()} == {None, "principal", "r3gan"}


def test_a_system_that_failed_is_not_used_again(tmp_path):
    search = new_search(tmp_path, systems=("r3gan",))
    asked = [search.ask(), search.ask()]
    search.tell(None, "failed", {"trial_id": "system-002"})
    assert asked[1].trial_id == "system-002"
    assert all(proposal.config.system != "r3gan" for proposal in told(search, 30))


def test_a_resumed_search_knows_its_systems_and_their_trials(tmp_path):
    first = new_search(tmp_path, systems=("principal",))
    asked = told(first, 30)
    reused = [proposal for proposal in asked if proposal.config.system == "principal" and proposal.number is not None]
    ended = [proposal.trial_id for proposal in asked if proposal is not reused[-1]]
    again = new_search(tmp_path, systems=("principal",), ended=ended)
    assert again.ask() == reused[-1]


def test_a_damaged_proposal_of_a_system_is_written_again_from_the_row(tmp_path):
    asked = told(new_search(tmp_path, systems=("principal",)), 30)
    reused = next(one for one in asked if one.config.system == "principal" and one.number is not None)
    file = proposal_file(tmp_path, reused.number)
    before = read_json(file)
    file.write_bytes(b"x")
    row = {**reused.config.model_dump(), "system": "principal", "status": "completed", "phase": "search"}
    ended = [proposal.trial_id for proposal in asked if proposal is not reused]
    again = new_search(tmp_path, systems=("principal",), ended=ended, rows={reused.trial_id: row})
    assert len(again.mended) == 1 and read_json(file)["parameters"] == before["parameters"]
