"""What a confirmation chooses and runs: sources by validation, new seeds, arms, shared real arms, both splits."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from data_utils.dataset import load_dataset
from data_utils.parquet_file import SCHEMA, read_table
from data_utils.prepare import prepare
from data_utils.resplit import resplit
from results.tables.schema import TRIALS
from study.cluster.resources import Resources
from study.cluster.tasks import TaskMaker
from study.commands.repeated import trained_gans
from study.config import GanConfig, TrialConfig, make_config
from study.errors import ConfigError
from study.search.confirmation import Protocol, choose_trials, distinct_gans, judgement, plan
from study.search.proposer import FixedTrials, shared_gan

BASE = make_config({"image_size": 32, "seed": 7, "classifier_lr": 1e-3})
SMALL = Protocol(num_seeds=2, ratios=(0.5,), fractions=(0.25,))


def num_train(config: GanConfig) -> int:
    return round(640 * config.training_fraction)


def planned(sources, base, protocol, split):
    return plan(sources, base, protocol, split, num_train)


def source(**settings) -> TrialConfig:
    return BASE.model_copy(update=settings)


def names(proposals) -> Counter:
    """Arm, part, split -> number of trials."""
    return Counter((p.config.arm, p.config.training_fraction, p.columns["split_protocol"]) for p in proposals)


# ---- which trials


def searched(*rows: dict) -> pd.DataFrame:
    filled = dict.fromkeys(TRIALS.names) | {"status": "completed", "phase": "search", "synthetic_ratio": 1.0}
    filled["image_size"] = 32
    return pd.DataFrame([filled | row for row in rows], columns=TRIALS.names)


TRIALS_OF_A_SEARCH = searched(
    {"trial_id": "baseline-000", "phase": "baseline", "validation_auroc": 0.99, "synthetic_ratio": 0.0},
    {"trial_id": "paper-000", "phase": "paper", "validation_auroc": 0.7},
    {"trial_id": "paper-001", "phase": "paper", "validation_auroc": 0.9},
    {"trial_id": "search-002", "validation_auroc": 0.8},
    {"trial_id": "search-003", "validation_auroc": 0.95, "test_auroc": 0.1},
    {"trial_id": "search-004", "status": "pruned"},
    {"trial_id": "confirm-x", "phase": "confirm", "validation_auroc": 1.0},
)


@pytest.mark.parametrize(
    ("top", "chosen"),
    [
        (1, ["search-003", "paper-001", "paper-000"]),
        (3, ["search-003", "paper-001", "search-002", "paper-000"]),
        (9, ["search-003", "paper-001", "search-002", "paper-000"]),
    ],
)
def test_the_best_by_validation_and_the_papers(top, chosen):
    assert choose_trials(TRIALS_OF_A_SEARCH, "auroc", top, None) == chosen


def test_exactly_the_named_ones():
    assert choose_trials(TRIALS_OF_A_SEARCH, "auroc", 3, ["paper-000", "paper-000"]) == ["paper-000"]


@pytest.mark.parametrize("name", ["nothing", "search-004", "baseline-000", "confirm-x"])
def test_what_cannot_be_confirmed_is_named(name):
    with pytest.raises(ConfigError, match=rf"--trials {name}: .*search-003 paper-001"):
        choose_trials(TRIALS_OF_A_SEARCH, "auroc", 3, ["paper-000", name])


def test_a_search_without_gans_cannot_be_confirmed():
    with pytest.raises(ConfigError, match=r"run_sweep\.py --resume"):
        choose_trials(TRIALS_OF_A_SEARCH.iloc[:1], "auroc", 3, None)


# ---- which arms


def test_every_arm_over_new_seeds():
    proposals = planned({"paper-000": source()}, BASE, SMALL, "grouped")
    assert names(proposals) == dict.fromkeys(
        [
            ("real_and_synthetic_0.5", 1.0, "grouped"),
            ("real_and_synthetic_1", 1.0, "grouped"),
            ("synthetic_only_1", 1.0, "grouped"),
            ("real", 1.0, "grouped"),
            ("real_unaugmented", 1.0, "grouped"),
            ("real_oversampled_0.5", 1.0, "grouped"),
            ("real_oversampled_1", 1.0, "grouped"),
            ("real_and_synthetic_1", 0.25, "grouped"),
            ("real", 0.25, "grouped"),
            ("real_oversampled_1", 0.25, "grouped"),
            ("real_and_synthetic_1", 1.0, "random"),
            ("real", 1.0, "random"),
        ],
        2,
    )
    assert {p.config.seed for p in proposals} == {8, 9}  # never the seed that the search was lucky with
    assert len({p.trial_id for p in proposals}) == len(proposals)
    assert all(p.phase == "confirm" and not p.stoppable for p in proposals)
    assert {p.columns["confirms"] for p in proposals if p.config.uses_gan} == {"paper-000"}
    assert {p.columns["confirms"] for p in proposals if not p.config.uses_gan} == {None}


def test_all_arms_share_the_studys_classifier_but_not_its_augmentation():
    sources = {"a": source(dropout=0.4), "b": source(lstm_depth=0, classifier_lr=3e-3)}
    proposals = planned(sources, BASE, SMALL, "grouped")
    assert {p.config.classifier_key for p in proposals} == {BASE.classifier_key}
    assert source(dropout=0.4).classifier_key != BASE.classifier_key
    bare = next(p.config for p in proposals if p.config.arm == "real_unaugmented")
    assert (bare.rotation, bare.zoom, bare.contrast, bare.classifier_flip) == (0, 0, 0, False)
    assert bare.dropout == BASE.dropout


def test_a_gan_of_two_trials_is_confirmed_once():
    sources = {"a": source(), "b": source(synthetic_ratio=2.0, dropout=0.4), "c": source(lstm_depth=0)}
    assert list(distinct_gans(sources)) == ["a", "c"]


def test_names_differ_where_configs_do():
    """And those of the usual fractions are whole percents."""
    several = replace(SMALL, num_seeds=1, fractions=(0.1, 0.104, 0.25, 0.29))
    proposals = planned({"a": source()}, BASE, several, "grouped")
    parts = {p.config.training_fraction: p.trial_id.split("-")[3] for p in proposals if p.config.training_fraction < 1}
    assert parts == {0.1: "10pct", 0.104: "10.4pct", 0.25: "25pct", 0.29: "29pct"}
    with pytest.raises(ConfigError, match=r"two trials would be named .*; let --ratios and --fractions differ by more"):
        planned({"a": source()}, BASE, replace(SMALL, ratios=(0.5, 0.50000001)), "grouped")


def test_no_arms_under_a_split_that_is_not_possible():
    proposals = planned({"a": source()}, BASE, replace(SMALL, other_split=False), "random")
    assert {p.columns["split_protocol"] for p in proposals} == {"random"}


def test_real_arms_are_shared_and_few_data_is_the_first_gans():
    first, second = source(backbone="efficientnetv2_s"), source(lstm_depth=0)
    shared = planned({"a": first, "b": second}, BASE, SMALL, "grouped")
    assert names(shared)["real", 1.0, "grouped"] == 2 and names(shared)["real_oversampled_1", 1.0, "grouped"] == 2
    assert names(shared)["real_and_synthetic_1", 1.0, "grouped"] == 4
    few = [p for p in shared if p.config.training_fraction < 1]
    assert {p.columns["confirms"] for p in few} == {"a", None}
    steps = {p.config.gan_epochs * (num_train(p.config) // BASE.gan_batch_size) for p in few if p.config.uses_gan}
    assert steps == {BASE.gan_epochs * 10}, "an epoch is two whole batches of a quarter, ten of all"
    assert all(p.config.gan_epochs % p.config.gan_eval_interval == 0 for p in few)


def test_trials_that_train_a_gan_come_first():
    proposals = planned({"a": source(), "b": source(lstm_depth=0)}, BASE, SMALL, "grouped")
    seen, trains = set(), []
    for proposal in proposals:
        config = proposal.config
        gan = (proposal.columns["confirms"], config.seed, config.training_fraction, proposal.columns["split_protocol"])
        trains.append(config.uses_gan and gan not in seen)
        seen.add(gan)
    assert trains == sorted(trains, reverse=True) and sum(trains) == 2 * 2 + 2 * 2


def test_trials_that_share_a_gan_wait_until_it_is_trained(tmp_path):
    proposals = planned({"a": source(), "b": source(lstm_depth=0)}, BASE, SMALL, "grouped")
    trials, asked = FixedTrials(tmp_path, BASE, list(proposals)), []
    gans = {shared_gan(one) for one in proposals} - {None}
    assert len(gans) == trials.gans_left() == 2 * (2 + 2)  # a seed: two GANs, two of the first under other conditions
    for _ in gans:
        asked.append(trials.ask())
    assert {shared_gan(one) for one in asked} == gans, "each trains its own"
    first = asked[0]
    asked.append(trials.ask())
    assert shared_gan(asked[-1]) is None, "the real images need no GAN"
    trials.tell(None, "completed", {"trial_id": first.trial_id})
    while shared_gan(one := trials.ask()) is None:
        asked.append(one)
    assert shared_gan(one) == shared_gan(first), "the only one that is trained"
    asked += [one, *(trials.ask() for _ in list(trials.waiting))]  # whatever is left waits in its slot
    assert sorted(one.trial_id for one in asked) == sorted(one.trial_id for one in proposals)


def test_what_follows_is_asked_for_once_the_last_trial_has_ended(tmp_path):
    first, second, *judges = planned({"a": source()}, BASE, SMALL, "grouped")[:5]
    told = []

    def then():
        told.append("asked for")
        return list(judges)

    trials = FixedTrials(tmp_path, BASE, [first, second], then=then, num_then=3)
    assert [trials.ask(), trials.ask(), trials.ask()] == [first, second, None] and trials.num_left() == 3
    trials.tell(None, "completed", {"trial_id": first.trial_id})
    assert trials.ask() is None and not told
    trials.tell(None, "failed", {"trial_id": second.trial_id})
    assert [trials.ask() for _ in range(3)] == judges and trials.num_left() == 0 and told == ["asked for"]
    assert FixedTrials(tmp_path, BASE, [], then=then, num_then=3).num_left() == 3, "at once where nothing is to run"
    assert not FixedTrials(tmp_path, BASE, [], then=list, num_then=3).num_left(), "nothing left to judge"


def test_gans_left_are_those_of_the_judgement_too_and_none_that_is_trained(tmp_path):
    proposals = planned({"a": source()}, BASE, SMALL, "grouped")
    waiting = [one for one in proposals if one.config.arm.split("_")[0] != "real" or not one.config.uses_gan]
    rows = pd.DataFrame({"trial_id": [one.trial_id for one in proposals if one not in waiting], "status": "completed"})
    trained = trained_gans(proposals, rows)
    assert trained == {shared_gan(one) for one in proposals} - {None} and not trained_gans(
        proposals, rows.assign(status="failed")
    )
    trials = FixedTrials(tmp_path, BASE, list(waiting), then=list, num_then=3, gans_then=1, trained=trained)
    assert any(one.config.uses_gan for one in waiting), "synthetic images alone, of GANs that are trained"
    assert trials.gans_left() == 1
    while proposal := trials.ask():
        trials.tell(None, "completed", {"trial_id": proposal.trial_id})
    assert trials.gans_left() == 0


def test_after_a_failed_training_the_next_trial_of_its_gan_tries_again(tmp_path):
    one = planned({"a": source()}, BASE, SMALL, "grouped")[0]
    trained = replace(one, trial_id="later", config=source(seed=99))
    trials = FixedTrials(tmp_path, BASE, [one, replace(one, trial_id="again"), trained])
    assert [trials.ask().trial_id for _ in range(2)] == [one.trial_id, "later"]
    trials.tell(None, "completed", {"trial_id": "later"})
    trials.tell(None, "failed", {"trial_id": one.trial_id})
    assert trials.ask().trial_id == "again"


def test_the_chosen_arm_is_judged_with_seeds_that_no_choice_has_used():
    config = source(lstm_depth=0, synthetic_ratio=0.5, seed=8)
    proposals = judgement("paper-003", config, BASE, 4, "grouped")
    arms = ("real_and_synthetic_0.5", "real", "real_oversampled_0.5")
    assert names(proposals) == dict.fromkeys([(arm, 1.0, "grouped") for arm in arms], 4)
    assert {p.columns["confirms"] for p in proposals} == {"paper-003", None}
    assert {(p.phase, p.columns["num_judging_seeds"]) for p in proposals} == {("judge", 4)}
    assert len(proposals) == Protocol(num_judging=4).num_judging_trials
    chosen_with = {p.config.seed for p in planned({"a": source()}, BASE, replace(SMALL, num_seeds=50), "grouped")}
    assert len({p.config.seed for p in proposals}) == 4
    assert not chosen_with & {p.config.seed for p in proposals}
    assert {p.config.lstm_depth for p in proposals if p.config.uses_gan} == {0}


def test_a_study_fixed_to_synthetic_only_still_gets_mixed_arms():
    proposals = planned({"a": source(training_images="synthetic_only")}, BASE, SMALL, "grouped")
    assert names(proposals)["real_and_synthetic_1", 1.0, "grouped"] == 2


# ---- the other split, and tasks


def test_resplit_keeps_the_images_and_leaks_on_purpose(prepared_phantoms):
    path, fingerprint = resplit(prepared_phantoms.path, "random")
    old, new = load_dataset(prepared_phantoms.path, 32), load_dataset(path, 32)
    assert new.fingerprint == fingerprint == path.stem != old.fingerprint
    assert (new.images == old.images).all() and (new.groups == old.groups).all()
    shared = set(new.side("train").groups) & set(new.side("test").groups)
    assert shared and not set(old.side("train").groups) & set(old.side("test").groups)
    assert resplit(prepared_phantoms.path, "random") == (path, fingerprint)


def test_more_than_two_gib_of_images_are_split_again(prepared_phantoms, tmp_path, monkeypatch):
    """More than the offsets of one array can tell; here all rows share one image of 32 MiB."""
    table, metadata = read_table(prepared_phantoms.path)
    images = pa.chunked_array([pa.array([bytes(2**25)])] * len(table))
    table, written = table.set_column(0, SCHEMA.field("image"), images), []
    monkeypatch.setattr("data_utils.resplit.read_table", lambda path: (table, metadata))
    monkeypatch.setattr(
        "data_utils.resplit.write_table", lambda path, columns, metadata: written.append(pa.table(columns, SCHEMA))
    )
    resplit(tmp_path / "prepared.parquet", "random")
    assert written[0].nbytes > 2**31 and len(written[0]) == len(table)


def test_the_grouped_split_of_a_random_one_is_that_of_the_photographs(phantom_folder, phantoms, tmp_path):
    """Whatever secret has renamed the groups."""
    for number in range(2):
        random = prepare(phantom_folder, tmp_path / str(number), image_size=32, split_protocol="random")
        path, _ = resplit(random.path, "grouped")
        assert (load_dataset(path, 32).split == phantoms.split).all()


def test_tasks_test_more_only_where_it_is_fair(prepared_phantoms, tmp_path):
    columns = {"split_protocol": "grouped", "data_fingerprint": prepared_phantoms.fingerprint}
    external = tmp_path / "other.parquet"
    make_task = TaskMaker(tmp_path, prepared_phantoms.path, columns, Resources(1, 1, 0, 1), True, external)
    tasks = [(p, make_task(p)) for p in planned({"a": source()}, BASE, replace(SMALL, num_seeds=1), "grouped")]
    for proposal, task in tasks:
        split, part = proposal.columns["split_protocol"], proposal.config.training_fraction
        assert task.columns["split_protocol"] == split and task.columns["phase"] == "confirm"
        assert task.prepared.stem == task.columns["data_fingerprint"]
        assert (task.prepared == prepared_phantoms.path) == (split == "grouped")
        assert task.corrupted_tests == (split == "grouped" and part == 1)
        assert task.external == (external if split == "grouped" else None)
