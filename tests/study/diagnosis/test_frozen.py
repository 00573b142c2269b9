"""A frozen backbone's feature maps are computed once, and the other layers are trained on them."""

import pytest
import torch

from data_utils.augment import draw_augmentation, to_float
from study.config import make_config
from study.diagnosis.frozen import frozen_features
from study.diagnosis.train import new_classifier, train_classifier
from study.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")
FROZEN = {
    "classifier_backbone": "tf_efficientnet_lite0", "classifier_pretrained": True, "classifier_frozen": True,
    "rotation": 0, "zoom": 0, "contrast": 0,
}  # fmt: skip


@pytest.fixture
def config(tiny_settings):
    return make_config(tiny_settings | FROZEN | {"classifier_epochs": 3})


def test_augmented_features_are_those_of_augmented_images(config, phantoms):
    model = new_classifier(config).eval()
    images = phantoms.side("train").images[:6]
    parameters = draw_augmentation(4, torch.Generator().manual_seed(0), rotation=0, zoom=0, contrast=0)
    assert 0 < (parameters[:, 3] < 0).sum() < 4
    rows = torch.tensor([5, 0, 3, 2])
    mirrored = torch.where((parameters[:, 3] < 0)[:, None, None, None], images[rows].flip(-1), images[rows])
    with torch.no_grad():
        expected = model.sequence(to_float(mirrored))
    found = frozen_features(config, model, images).augmented(rows, parameters)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_backbone_sees_each_image_once_and_stays_as_it_was(config, phantoms, tmp_path, monkeypatch):
    seen, fresh = [], new_classifier(config)
    forward = type(fresh.features).forward
    monkeypatch.setattr(type(fresh.features), "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    result = train_classifier(config, phantoms, lambda entry: None, tmp_path)
    shape_probe, sides = 1, {name: len(phantoms.side(name).labels) for name in ("train", "validation", "test")}
    once = shape_probe + 2 * sides["train"] + 2 * sides["validation"]
    assert sum(seen) == once + sides["validation"] + sides["test"]  # and the diagnosis at the end
    assert 0 <= result["test_auroc"] <= 1


@pytest.mark.parametrize(("changes", "named"), [
    ({"rotation": 10}, "rotation=0"),
    ({"classifier_pretrained": False}, "classifier_pretrained"),
])  # fmt: skip
def test_settings_that_a_frozen_backbone_excludes_are_refused(tiny_settings, changes, named):
    with pytest.raises(ConfigError, match=named):
        make_config(tiny_settings | FROZEN | changes)
