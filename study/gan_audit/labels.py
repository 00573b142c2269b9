"""Do a generator's images show the class that they were made for? A classifier trained on real images judges.

Agreement is the AUROC of that classifier's score for the wanted label: 1 where every image of the positive class scores
above every image of the negative, 0.5 where the labels do not show, 0 where they are swapped. Unlike a share of right
decisions it does not suffer from images that all look a little more like one class.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from results.tables.schema import IGNORED, ONE_CLASS, SWAPPED

SIGNIFICANCE = 0.001  # one-sided; a table has some hundred verdicts
REGULARISATION = 1e-3  # `C`: there are about as many features as training images
BOUND = 1.96  # standard errors
LEAST_SHOWN = 0.5  # of what real images show: below it, labels are not kept
SEPARABLE = 0.7  # AUROC on held-out images that the lower bound must exceed; else nothing can be said


@dataclass(frozen=True)
class Scores:
    """Scores (N,) of images, positive for class 1, and the labels (N,) that they were made for."""

    values: np.ndarray
    labels: np.ndarray

    @property
    def agreement(self) -> float | None:
        """AUROC; None where one of the classes is missing."""
        return float(roc_auc_score(self.labels, self.values)) if len(set(self.labels.tolist())) == 2 else None

    def error(self) -> float:
        """Standard error of the AUROC (Hanley and McNeil 1982)."""
        area, positives = self.agreement, int(self.labels.sum())
        negatives = len(self.labels) - positives
        same_positive, same_negative = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area)
        variance += (positives - 1) * (same_positive - area**2) + (negatives - 1) * (same_negative - area**2)
        return math.sqrt(max(variance, 0) / (positives * negatives))


def label_classifier(features: Tensor, labels: Tensor) -> Pipeline:
    """A logistic regression on standardised features (N, D) of real training images, classes weighted equally."""
    model = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), model).fit(features.numpy(), labels.numpy())


def label_scores(classifier: Pipeline, features: Tensor, labels: Tensor) -> Scores:
    return Scores(classifier.decision_function(features.numpy()), labels.numpy())


def label_finding(synthetic: Scores, held_out: Scores) -> str | None:
    """SWAPPED, ONE_CLASS or IGNORED; None where labels are kept, or where real images do not tell the classes apart."""
    if synthetic.agreement is None or held_out.agreement is None:
        return None
    if held_out.agreement - BOUND * held_out.error() <= SEPARABLE:
        return None
    by_label = (synthetic.values[synthetic.labels == label] for label in (1, 0))
    if mannwhitneyu(*by_label, alternative="less").pvalue < SIGNIFICANCE:
        return SWAPPED
    shown, shown_real = synthetic.agreement - 0.5, held_out.agreement - 0.5
    if shown + BOUND * synthetic.error() >= LEAST_SHOWN * shown_real:
        return None
    return ONE_CLASS if _looks_like_one_class(synthetic, held_out) else IGNORED


def _looks_like_one_class(synthetic: Scores, held_out: Scores) -> bool:
    """Whether the share called positive is nearer to that of one real class than to that of both together."""
    negative, positive = ((held_out.values[held_out.labels == label] > 0).mean() for label in (0, 1))
    both = (negative + positive) / 2
    return abs((synthetic.values > 0).mean() - both) > abs(positive - negative) / 4
