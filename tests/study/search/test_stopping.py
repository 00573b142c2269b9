"""Which GANs are stopped, and from which epoch on they are judged at all."""

import numpy as np

from study.search.stopping import Halving, order_kept

EPOCHS = range(10, 161, 10)


def new_rule():
    return Halving(last_epoch=160, interval=10)


def hear_whole(rule, **distances):
    """GANs trained to their end: a function of the epoch each."""
    for gan, distance in distances.items():
        for epoch in EPOCHS:
            rule.is_worse(gan, epoch, distance(epoch))


def parallel_curves(count, crossing_until=0):
    """Distances that keep their order from an epoch on; until then they lie in the opposite one."""
    return {
        f"gan{number}": lambda epoch, n=number: 300 - epoch + (10 * n if epoch > crossing_until else -10 * n)
        for number in range(count)
    }


def test_the_worse_half_at_a_milestone_is_told():
    rule = new_rule()
    told = [rule.is_worse(gan, 40, distance) for gan, distance in zip("abcd", (100, 90, 95, 120), strict=True)]
    assert told == [False, False, False, True]
    assert not rule.is_worse("e", 30, 500), "between milestones nobody is judged"


def test_what_a_gan_has_left_behind_is_not_judged_again():
    """A trial that goes on from its checkpoint reports its earlier measurements once more."""
    rule = new_rule()
    for epoch in range(10, 71, 10):
        assert not rule.is_worse("a", epoch, 100)
    for gan in "bcd":
        rule.is_worse(gan, 40, 50)
    assert not any(rule.is_worse("a", epoch, 100) for epoch in range(10, 71, 10))
    for gan in "bcd":
        rule.is_worse(gan, 80, 50)
    assert rule.is_worse("a", 80, 100)


def test_before_gans_have_finished_a_quarter_is_waited_for_but_two_measurements():
    assert new_rule().milestones() == [40, 80]
    assert Halving(last_epoch=60, interval=20).milestones() == [40]
    assert Halving(last_epoch=2, interval=1).milestones() == [1]
    assert Halving(last_epoch=1, interval=1).milestones() == []


def test_grace_is_as_short_as_early_distances_are_telling():
    for crossing, grace in ((0, 10), (20, 30), (60, 70), (120, 80)):
        rule = new_rule()
        hear_whole(rule, **parallel_curves(4, crossing))
        assert rule.grace == grace, crossing


def test_noise_makes_the_grace_longer():
    def grace(noise, seed):
        draws, rule = np.random.default_rng(seed), new_rule()
        hear_whole(rule, **{name: lambda e, c=curve: c(e) + noise * draws.normal()
                            for name, curve in parallel_curves(4).items()})  # fmt: skip
        return rule.grace

    mean = {noise: np.mean([grace(noise, seed) for seed in range(30)]) for noise in (1.0, 10.0, 40.0)}
    assert mean[1.0] < mean[10.0] < mean[40.0] <= 80


def test_a_gan_counts_once_and_a_finished_one_is_never_stopped():
    rule = new_rule()
    hear_whole(rule, good=lambda epoch: 50.0)
    for _ in range(5):
        assert not rule.is_worse("good", 40, 50.0)
    assert rule.is_worse("new", 40, 60.0)
    assert not rule.is_worse("newer", 40, 55.0), "the median of 50, 60 and 55"
    assert not rule.is_worse("good", 40, 90.0)


def test_where_a_stopped_gan_would_end_follows_from_what_finished_ones_lost():
    rule = new_rule()
    assert rule.expected_ends() == {}
    hear_whole(rule, half=lambda epoch: 8000 / epoch, whole=lambda epoch: 16000 / epoch)
    for epoch in (10, 20, 30, 40):
        rule.is_worse("stopped", epoch, 24000 / epoch if epoch > 20 else 1.0)
    ends = rule.expected_ends()
    assert np.isclose(ends["stopped"], 150.0), "its first measurements are of the past"
    assert np.isclose(ends["whole"] / ends["half"], 2.0) and np.isclose(ends["half"] + ends["whole"], 150.0)
    rule.is_worse("wavers", 160, 10.0)
    assert rule.expected_ends()["wavers"] == 10.0, "one measurement is enough"


def test_a_curve_with_gaps_says_nothing_of_the_grace():
    """Reports can be lost with a machine."""
    rule = new_rule()
    for gan in "abcd":
        rule.is_worse(gan, 160, 100.0)
    assert rule.grace == 40


def test_order_kept_weighs_pairs_by_their_difference():
    early, late = np.array([3.0, 2.0, 4.0]), np.array([1.0, 2.0, 8.0])
    assert order_kept(early[:2], late[:2]) == 0.0 and order_kept(early[1:], late[1:]) == 1.0
    assert np.isclose(order_kept(early, late), (6 + 7) / 14)
