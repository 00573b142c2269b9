"""The classifier's losses against their closed forms."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from study.diagnosis.loss import FOCAL_GAMMA, classifier_loss

LOGITS = torch.tensor([-2.0, 0.5, 3.0, -0.3, 40.0], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 1, 1])


def test_without_balance_it_is_the_cross_entropy():
    assert classifier_loss(LOGITS, LABELS).item() == binary_cross_entropy_with_logits(LOGITS, LABELS.double()).item()


def test_class_weights_give_both_classes_the_same_weight():
    """30 negatives and 10 positives: 40 / 60 and 40 / 20."""
    of_true = torch.where(LABELS == 1, LOGITS, -LOGITS).sigmoid()
    expected = -(torch.tensor([2 / 3, 2, 2 / 3, 2, 2], dtype=torch.float64) * of_true.log()).mean()
    found = classifier_loss(LOGITS, LABELS, "class_weights", torch.tensor([30, 10]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-7)


def test_focal_loss_and_its_gradient():
    """d/dx of -(1 - p)^2 log p is (1 - p)^2 (2 p log p + p - 1) for a positive (Lin et al. 2017, appendix B)."""
    logits = LOGITS.clone().requires_grad_()
    loss = classifier_loss(logits, LABELS, "focal")
    loss.backward()
    sign = 2 * LABELS - 1
    p = (sign * LOGITS).sigmoid()
    assert FOCAL_GAMMA == 2
    assert loss.item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item(), rel=1e-12)
    expected = sign * (1 - p) ** 2 * (2 * p * p.log() + p - 1) / len(p)
    assert torch.allclose(logits.grad, expected, rtol=1e-9, atol=1e-15) and logits.grad.isfinite().all()
