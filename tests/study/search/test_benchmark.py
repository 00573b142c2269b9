"""The plan of a benchmark: equal costs, equal classifiers, the same seeds for all."""

from collections import Counter

import pytest

from study.benchmark import main
from study.config import ALL_SYSTEMS, make_config, preset
from study.search.benchmark import UNLIMITED, Budget, benchmark_plan, cost_minutes

BASE = make_config(preset("smoke"))


FIVE_MINUTES = Budget(minutes=5)


def planned(budget=FIVE_MINUTES, systems=tuple(ALL_SYSTEMS)):
    return benchmark_plan(BASE, systems, 3, budget, 200, "grouped")


def test_every_system_has_both_arms_with_every_seed_beside_the_same_real_arms():
    proposals = planned()
    arms = Counter((proposal.columns["confirms"], proposal.config.arm) for proposal in proposals)
    both = ("real_and_synthetic_1", "synthetic_only_1")
    expected = {(f"{name}-5min", arm): 3 for name in ALL_SYSTEMS for arm in both}
    assert arms == expected | {(None, "real"): 3, (None, "real_oversampled_1"): 3}
    assert len({proposal.trial_id for proposal in proposals}) == len(proposals)
    assert {proposal.config.seed for proposal in proposals} == {1, 2, 3}  # not the search's
    assert len({proposal.config.classifier_key for proposal in proposals}) == 1
    assert {proposal.phase for proposal in proposals} == {"benchmark"}


def test_each_gan_is_the_system_that_it_is_named_after():
    for proposal in planned():
        if name := proposal.columns["confirms"]:
            assert proposal.config.system == name.removesuffix("-5min")


def test_minutes_end_a_training_and_images_are_counted_in_epochs():
    trained = [proposal.config for proposal in planned() if proposal.config.uses_gan and proposal.config.gan_epochs]
    assert {(config.gan_epochs, config.gan_time_limit) for config in trained} == {(UNLIMITED, 300.0)}
    counted = planned(Budget(images=1001), ("wgan_gp", "r3gan"))
    assert {(one.config.gan_epochs, one.config.gan_time_limit) for one in counted if one.config.uses_gan} == {(6, 0.0)}
    assert "wgan_gp-1001images" in {proposal.columns["confirms"] for proposal in counted}


def test_an_untrained_system_stays_untrained_and_costs_nothing():
    (config,) = {one.config.gan_epochs for one in planned(systems=("principal",)) if one.config.uses_gan}
    assert config == 0
    assert cost_minutes(planned(systems=("principal",))) == 0
    assert cost_minutes(planned(systems=("wgan_gp", "gan"))) == pytest.approx(2 * 3 * 5)


@pytest.mark.parametrize(("given", "said"), [
    (["--systems", "none", "--minutes", "1"], "at least one system"),
    (["--systems", "nothing", "--minutes", "1"], "'nothing' is unknown"),
    (["--minutes", "0"], "'0' is not a number above 0"),
    (["--minutes", "1", "--images", "9"], "not allowed with"),
    ([], "one of the arguments --minutes --images is required"),
    (["--minutes", "1"], "is not a study"),
])  # fmt: skip
def test_what_is_refused(tmp_path, capsys, given, said):
    try:
        code = main([str(tmp_path / "none"), *given])
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2 and said in " ".join(capsys.readouterr().err.split())
