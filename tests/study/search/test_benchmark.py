"""The plan of a benchmark: equal costs, equal classifiers, the same seeds for all."""

from collections import Counter

import pytest

from results.tables.store import read_trials
from study.benchmark import main
from study.commands.benchmark import systems_here
from study.commands.repeated import columns_of_study
from study.config import ALL_SYSTEMS, CLASSIFIERS, make_config, preset
from study.errors import ConfigError
from study.search.benchmark import UNLIMITED, Arms, Budget, benchmark_plan, cost_minutes
from study.search.confirmation import NO_AUGMENTATION
from study.search.proposer import FixedTrials, shared_gan

BASE = make_config(preset("smoke"))


FIVE_MINUTES = Budget(minutes=5)


def num_train(config) -> int:
    """200 images, half of them positive."""
    return round(config.training_fraction * (100 + 100 * config.positive_fraction))


def planned(budget=FIVE_MINUTES, systems=tuple(ALL_SYSTEMS), **arms):
    return benchmark_plan(BASE, systems, 3, budget, num_train, "grouped", Arms(**arms))


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


def test_ratios_and_filtered_images_are_more_arms_of_the_same_gans():
    systems = ("wgan_gp", "principal")
    proposals = planned(systems=systems, ratios=(1.0, 5.0), kept=(0.5,))
    arms = Counter((proposal.columns["confirms"], proposal.config.arm) for proposal in proposals)
    of_gan = ("real_and_synthetic_1", "real_and_synthetic_5", "synthetic_only_1", "real_and_synthetic_1_kept_0.5")
    expected = {(f"{name}-5min", arm): 3 for name in systems for arm in of_gan}
    expected |= {(None, arm): 3 for arm in ("real", "real_oversampled_1", "real_oversampled_5")}
    assert arms == expected and len({proposal.trial_id for proposal in proposals}) == 33
    assert cost_minutes(proposals) == pytest.approx(1 * 3 * 5)
    keys = {(one.columns["confirms"], one.config.gan_key("data", "code")) for one in proposals if one.config.uses_gan}
    assert len(keys) == 6  # a system and seed


def test_few_positives_have_every_remedy_and_a_gan_of_their_own():
    usual = planned(systems=("wgan_gp", "principal"))
    proposals = planned(systems=("wgan_gp", "principal"), positives=(0.05, 0.1))
    assert {proposal.trial_id for proposal in usual} < {proposal.trial_id for proposal in proposals}
    few = [proposal for proposal in proposals if proposal.config.positive_fraction < 1]
    arms = Counter((one.columns["confirms"], one.config.arm, one.config.positive_fraction) for one in few)
    remedies = ("real", "real_balanced_oversampled", "real_balanced_class_weights", "real_balanced_focal")
    expected = [(None, arm) for arm in remedies]
    expected += [(f"{name}-5min", "real_balanced_synthetic") for name in ("wgan_gp", "principal")]
    assert arms == {(*arm, share): 3 for arm in expected for share in (0.05, 0.1)}
    assert len({one.trial_id for one in proposals}) == len(proposals) == 3 * (2 * 2 + 2) + 2 * 3 * 6
    assert "benchmark-wgan_gp-5min-real_balanced_synthetic-5pct_positive-grouped-s1" in {one.trial_id for one in few}
    assert cost_minutes(proposals) == pytest.approx(3 * 3 * 5)  # three training sets of one trained system
    assert all(make_config(one.config.model_dump()) == one.config for one in proposals)  # rows are read back
    assert len({one.config.classifier_key for one in proposals}) == 1
    assert len({shared_gan(one) for one in proposals} - {None}) == 2 * 3 * 3


def test_gans_of_few_positives_see_as_many_images():
    counted = planned(Budget(images=1100), ("wgan_gp",), positives=(0.1,))
    epochs = {(one.config.positive_fraction, one.config.gan_epochs) for one in counted if one.config.uses_gan}
    assert epochs == {(1.0, 6), (0.1, 12)}  # whole batches of 200 and of 110 images: 192 and 96


def test_few_data_has_real_arms_and_gans_with_and_without_pretraining():
    systems = ("wgan_gp", "principal")
    usual = planned(systems=systems)
    proposals = planned(systems=systems, fractions=(0.1, 0.5))
    assert {one.trial_id for one in usual} < {one.trial_id for one in proposals}
    few = [one for one in proposals if one.config.training_fraction < 1]
    arms = Counter((one.columns["confirms"], one.config.arm, one.config.training_fraction) for one in few)
    expected = [(None, "real"), (None, "real_oversampled_1")]
    gans = ("wgan_gp-5min", "wgan_gp-5min-unlabelled", "principal-5min")  # what is not trained is not pretrained
    expected += [(name, "real_and_synthetic_1") for name in gans]
    assert arms == {(*arm, fraction): 3 for arm in expected for fraction in (0.1, 0.5)}
    assert len({one.trial_id for one in proposals}) == len(proposals)
    assert "benchmark-wgan_gp-5min-unlabelled-real_and_synthetic_1-10pct-grouped-s1" in {one.trial_id for one in few}
    pretrained = [one.config for one in few if (one.columns["confirms"] or "").endswith("-unlabelled")]
    assert {one.config.pretraining for one in proposals if one.config not in pretrained} == {"none"}
    assert {(one.pretraining, one.gan_time_limit, one.positive_fraction) for one in pretrained} == {
        ("unlabelled", 300.0, 1.0)
    }  # fmt: skip
    assert cost_minutes(proposals) == pytest.approx((1 + 2 * 2) * 3 * 5)  # the whole, and two GANs of each part
    assert all(make_config(one.config.model_dump()) == one.config for one in proposals)  # rows are read back
    assert len({one.config.classifier_key for one in proposals}) == 1
    assert len({shared_gan(one) for one in few} - {None}) == 3 * 3 * 2


def test_few_data_with_two_classifiers_and_ratios_shares_each_gan():
    proposals = planned(systems=("gan",), ratios=(1.0, 5.0), fractions=(0.25,), classifiers=("efficientnet_lite0",))
    few = [one for one in proposals if one.config.training_fraction < 1 and one.config.uses_gan]
    assert len(few) == 3 * 2 * 2 * 2  # seeds, GANs, ratios, classifiers
    assert set(Counter(map(shared_gan, few)).values()) == {4} and len(set(map(shared_gan, few))) == 3 * 2
    assert "benchmark-gan-5min-unlabelled-real_and_synthetic_5-25pct-efficientnet_lite0-grouped-s1" in {
        one.trial_id for one in few
    }  # fmt: skip


def test_gans_of_few_data_see_as_many_images_with_and_without_pretraining():
    """An epoch without labels shows as many images as one of the part."""
    counted = planned(Budget(images=1000), ("wgan_gp",), fractions=(0.25,))
    epochs = {(one.config.training_fraction, one.config.pretraining, one.config.gan_epochs)
              for one in counted if one.config.uses_gan}  # fmt: skip
    assert epochs == {(1.0, "none", 6), (0.25, "none", 32), (0.25, "unlabelled", 32)}  # of 192 and of 32


def test_too_few_images_for_two_epochs_of_a_part_are_refused():
    with pytest.raises(ConfigError, match=r"--images .*training_fraction=0\.5 .*use a larger --images"):
        planned(Budget(images=96), ("wgan_gp",), fractions=(0.5,))
    assert planned(Budget(images=96), ("principal",), fractions=(0.5,))


def test_a_study_of_pretrained_gans_is_benchmarked_without_but_where_the_name_says_so():
    pretrained = BASE.model_copy(update={"pretraining": "unlabelled"})
    proposals = benchmark_plan(pretrained, ("gan", "principal"), 2, FIVE_MINUTES, num_train, "grouped",
                               Arms(fractions=(0.5,)))  # fmt: skip
    for one in proposals:
        assert (one.config.pretraining == "unlabelled") == (one.columns["confirms"] == "gan-5min-unlabelled")


def test_further_classifiers_run_every_arm_again_with_the_same_gans():
    usual = planned(systems=("wgan_gp", "principal"), kept=(0.5,), positives=(0.1,))
    named = ("small", "efficientnet_lite0")  # the first is the study's own
    proposals = planned(systems=("wgan_gp", "principal"), kept=(0.5,), positives=(0.1,), classifiers=named)
    own = [one for one in proposals if one.config.classifier == "small"]
    others = [one for one in proposals if one.config.classifier == "efficientnet_lite0"]
    assert {one.trial_id: one for one in own} == {one.trial_id: one for one in usual}
    assert len(own) == len(others) == len(proposals) / 2
    assert len({one.trial_id for one in proposals}) == len(proposals)
    assert "benchmark-wgan_gp-5min-synthetic_only_1-efficientnet_lite0-grouped-s1" in {one.trial_id for one in others}
    arms = [Counter((one.columns["confirms"], one.config.arm, one.config.training_part) for one in part)
            for part in (own, others)]  # fmt: skip
    assert arms[0] == arms[1]
    assert {one.config.classifier_backbone for one in others} == {"tf_efficientnet_lite0"}
    assert all(one.config.classifier_pretrained and not one.config.classifier_frozen for one in others)
    assert all(make_config(one.config.model_dump()) == one.config for one in proposals)  # rows are read back
    for part in (own, others):  # which alone are compared
        assert len({one.config.classifier_key for one in part}) == 1
    gans = [{one.config.gan_key("data", "code") for one in part if one.config.uses_gan} for part in (own, others)]
    assert gans[0] == gans[1] and cost_minutes(proposals) == cost_minutes(usual)


def test_the_studys_own_classifier_comes_first_to_each_gan(tmp_path):
    proposals = planned(systems=("wgan_gp", "principal"), positives=(0.1,), classifiers=("efficientnet_lite0",))
    trials = FixedTrials(tmp_path, BASE, list(proposals))
    firsts = [trials.ask() for _ in range(2 * 2 * 3)]
    assert len({shared_gan(one) for one in firsts}) == len(firsts)
    assert {one.config.classifier for one in firsts} == {"small"}


def test_a_study_with_another_classifier_keeps_it_as_its_own():
    frozen = BASE.model_copy(update=CLASSIFIERS["efficientnet_lite0"] | NO_AUGMENTATION | {"classifier_frozen": True})
    assert frozen.classifier == "tf_efficientnet_lite0_frozen"
    arms = Arms(classifiers=tuple(CLASSIFIERS))
    proposals = benchmark_plan(frozen, ("principal",), 2, FIVE_MINUTES, num_train, "grouped", arms)
    assert {one.config.classifier for one in proposals} == {frozen.classifier, *CLASSIFIERS}
    assert all(make_config(one.config.model_dump()) == one.config for one in proposals)


def test_arms_that_would_have_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"two trials would be named .*real_and_synthetic_1-"):
        planned(systems=("principal",), ratios=(1.0, 1.0000001))


@pytest.mark.parametrize(("given", "said"), [
    (["--minutes", "1", "--ratios", "11"], "'11': each number must be above 0 and at most 10"),
    (["--minutes", "1", "--positives", "1"], "'1': parts lie between 0 and 1"),
    (["--minutes", "1", "--fractions", "2"], "'2': parts lie between 0 and 1"),
    (["--minutes", "1", "--kept", "x"], "'x' is not a list of numbers"),
    (["--minutes", "1", "--classifiers", "vgg"], "'vgg' is unknown; there are: small, efficientnet_lite0, or none"),
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


def test_a_study_without_an_ended_trial_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no trial of this study has ended"):
        columns_of_study({}, read_trials(tmp_path))


def test_without_the_flag_a_system_whose_weights_are_missing_is_left_out(monkeypatch, capsys):
    assert systems_here(BASE) == tuple(ALL_SYSTEMS) and not capsys.readouterr().out
    monkeypatch.setattr("models.systems.projected.has_efficientnet_lite", lambda number: False)
    assert systems_here(BASE) == tuple(name for name in ALL_SYSTEMS if name != "projected")
    assert "projected" in (said := capsys.readouterr().out) and "pip install" in said
