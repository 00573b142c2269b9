"""Generators on principal components: the Gaussian against its closed form, the U-Net against its start."""

import pytest
import torch

from models.systems.principal import MIN_IMAGES, PrincipalGenerator, halved


@pytest.fixture
def two_classes():
    """400 images of 32 px with two directions of variance: class 0 varies along the first, class 1 along the second."""
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(3 * 32 * 32, 2))[0].T
    labels = torch.arange(400) % 2
    amounts = torch.randn(400, 2) * torch.stack([1 - labels, labels], dim=1)
    return (0.1 * labels[:, None] + amounts @ directions).view(400, 3, 32, 32), labels, directions, amounts


def test_the_gaussian_has_each_classs_mean_and_variance(two_classes):
    images, labels, directions, amounts = two_classes
    generator = PrincipalGenerator(32, components=8, width=4)
    generator.fit(images, labels)
    for label in (0, 1):
        z = torch.randn(5000, 9, generator=torch.Generator().manual_seed(1))
        made = generator.start(z, torch.full((5000,), label)).flatten(1)
        along = (made - made.mean(dim=0)) @ directions.T
        expected = amounts[labels == label].var(dim=0)
        torch.testing.assert_close(along.var(dim=0), expected, rtol=0.1, atol=0.01)
        torch.testing.assert_close(made.mean(dim=0), images[labels == label].flatten(1).mean(dim=0), rtol=0, atol=0.02)


def test_several_gaussians_find_the_parts_of_a_class():
    """Class 1 lies around four centres; class 0 has too few images for two Gaussians."""
    torch.manual_seed(4)
    directions = torch.linalg.qr(torch.randn(3 * 32 * 32, 2))[0].T
    corners = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]]).repeat(MIN_IMAGES, 1)
    labels = torch.cat([torch.ones(4 * MIN_IMAGES), torch.zeros(2 * MIN_IMAGES - 1)]).long()
    amounts = torch.cat([corners, torch.zeros(2 * MIN_IMAGES - 1, 2)]) + 0.01 * torch.randn(len(labels), 2)
    generator = PrincipalGenerator(32, components=4, width=4, gaussians=8)
    generator.fit((amounts @ directions).view(-1, 3, 32, 32), labels)
    z = torch.randn(4000, 4 + 32 * 32, generator=torch.Generator().manual_seed(5))
    ones = generator.start(z, torch.ones(4000, dtype=torch.long)).flatten(1) @ directions.T
    distances = torch.cdist(ones, corners[:4])
    assert distances.min(dim=1).values.max() < 0.2
    assert distances.argmin(dim=1).bincount().tolist() == pytest.approx([1000] * 4, abs=120)
    zeros = generator.start(z, torch.zeros(4000, dtype=torch.long)).flatten(1) @ directions.T
    assert zeros.norm(dim=1).max() < 0.2


def test_a_class_of_few_large_images_has_a_gaussian():
    """In float32 the rounding of their covariance is larger than what is added to make it positive."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(122, 3, 4, 4, generator=draws).repeat_interleave(32, 2).repeat_interleave(32, 3) * 2 - 1
    images = images + torch.rand(122, 1, 1, 1, generator=draws) + 0.1 * torch.randn(images.shape, generator=draws)
    generator = PrincipalGenerator(128, components=150, width=4)
    generator.fit(images, (torch.arange(122) >= 120).long())
    assert generator.roots.isfinite().all()


@pytest.mark.parametrize(
    ("num_points", "most", "sizes"), [(63, 8, [63]), (64, 8, [32, 32]), (260, 8, [*4 * [33], *4 * [32]])]
)
def test_pieces_are_alike_in_number_and_never_small(num_points, most, sizes):
    points = torch.randn(num_points, 50, generator=torch.Generator().manual_seed(0))
    pieces = halved(points, most)
    assert sorted(len(piece) for piece in pieces) == sorted(sizes)
    assert torch.cat(pieces).sort().values.tolist() == list(range(num_points))


@pytest.mark.parametrize("num_images", [3, 12])
def test_few_images_leave_the_other_components_empty(num_images):
    torch.manual_seed(0)
    images, labels = torch.rand(num_images, 3, 32, 32) * 2 - 1, torch.arange(num_images) % 2
    generator = PrincipalGenerator(32, components=100, width=4)
    generator.fit(images, labels)
    assert torch.isfinite(generator(torch.randn(4, 100 + 32 * 32), torch.tensor([0, 1, 0, 1]))).all()
    assert (generator.axes[num_images - 1 :] == 0).all()


def test_the_u_net_adds_nothing_at_the_start_and_then_all_its_weights_learn(two_classes):
    images, labels, *_ = two_classes
    torch.manual_seed(2)
    generator = PrincipalGenerator(32, components=8, width=4)
    generator.fit(images, labels)
    z, classes = torch.randn(6, 8 + 32 * 32), torch.arange(6) % 2
    torch.testing.assert_close(generator(z, classes), generator.start(z, classes))
    torch.nn.init.normal_(generator.residual.weight, std=0.1)
    generator(z, classes).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())


def test_each_image_has_its_own_noise(two_classes):
    images, labels, *_ = two_classes
    torch.manual_seed(3)
    generator = PrincipalGenerator(32, components=8, width=4)
    generator.fit(images, labels)
    torch.nn.init.normal_(generator.residual.weight, std=0.1)
    z = torch.randn(1, 8 + 32 * 32).repeat(2, 1)
    z[1, 8:] = torch.randn(32 * 32)
    first, second = generator(z, torch.zeros(2, dtype=torch.long))
    assert not torch.equal(first, second)


def test_the_u_net_stays_in_bfloat16_under_autocast(two_classes):
    images, labels, *_ = two_classes
    generator = PrincipalGenerator(32, components=8, width=4)
    generator.fit(images, labels)
    seen = []
    for name in ("down", "bottom", "up", "leave", "residual"):
        getattr(generator, name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(torch.randn(2, 8 + 32 * 32), torch.arange(2))
    assert seen == [torch.bfloat16] * 5 and made.dtype == torch.float32
