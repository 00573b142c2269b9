"""The most real synthetic images: so many of each class, and those that lie among the real ones."""

import torch

from study.config import make_config
from study.trial.selection import most_real, realness, surplus_labels


def test_so_many_are_made_that_the_share_kept_is_as_many_as_wanted():
    wanted = torch.tensor([0, 0, 0, 1])
    assert surplus_labels(wanted, 1.0).tolist() == wanted.tolist()
    assert surplus_labels(wanted, 0.5).tolist() == [0] * 6 + [1] * 2
    assert surplus_labels(wanted, 0.3).tolist() == [0] * 10 + [1] * 4  # ceil(1 / 0.3)
    assert surplus_labels(torch.ones(7, dtype=torch.int64), 0.7).tolist() == [1] * 10  # 7 / 0.7 > 10 in floats


def test_what_lies_among_the_real_ones_is_the_most_real():
    draws = torch.Generator().manual_seed(0)
    real, near = (torch.randn(40, 5, generator=draws) for _ in range(2))
    far = torch.randn(40, 5, generator=draws) + 4
    scores = realness(real, torch.stack([near, far], 1).flatten(0, 1))  # near and far in turn
    assert scores[::2].min() > scores[1::2].max()
    assert len(realness(real[:1], near[:2])) == 2  # the fewest that there can be


def test_each_class_is_judged_by_its_own_real_images(two_colours, tiny_settings, pixel_quality, one_thread):
    """Green images are real for class 1 only: of each class the half of the right colour is kept."""
    config = make_config(tiny_settings | {"synthetic_kept": 0.5})
    train = two_colours.side("train")
    red, green = (train.images[train.labels == label][:12] for label in (0, 1))
    images = torch.cat([torch.stack([red, green], 1).flatten(0, 1), torch.stack([red, green], 1).flatten(0, 1)])
    labels = torch.arange(2).repeat_interleave(24)
    chosen = most_real(config, two_colours, images, labels, torch.arange(2).repeat_interleave(12))
    assert chosen.tolist() == [*range(0, 24, 2), *range(25, 48, 2)]
    hidden = two_colours.keep(two_colours.split == "train")
    assert most_real(config, hidden, images, labels, labels[::2]).tolist() == chosen.tolist()
