"""What a trained classifier is tested on besides the test side: worse photographs, and another data set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from data_utils.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_utils.dataset import Dataset, Side


@dataclass(frozen=True)
class Condition:
    """`side`: validation, test or external; a corruption of `data_utils.corruptions` at strength 1 to 3, or none."""

    side: str
    corruption: str = "none"
    strength: int = 0


def corrupted_tests(test: Side) -> Iterator[tuple[Condition, Side]]:
    """The test side under every corruption at every strength, made one at a time."""
    for corruption in CORRUPTIONS:
        for strength in STRENGTHS:
            images = corrupt(test.images, corruption, strength, seed=0)  # the same for every trial
            yield Condition("test", corruption, strength), replace(test, images=images)


def external_test(dataset: Dataset) -> Iterator[tuple[Condition, Side]]:
    """All images of a data set that no training has seen, whatever its own split."""
    yield Condition("external"), Side(dataset.images, dataset.labels, dataset.groups, dataset.image_ids)


def predictions(condition: Condition, side: Side, probabilities: np.ndarray) -> list[dict]:
    """One dict an image, with the columns of `results.schema.PREDICTIONS` that tell of image and condition."""
    images = zip(side.image_ids, side.groups, side.labels.tolist(), probabilities.tolist(), strict=True)
    return [
        {**vars(condition), "image_id": image_id, "group": group, "label": label, "probability": probability}
        for image_id, group, label, probability in images
    ]
