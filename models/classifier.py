"""CNN-LSTM classifier: convolutional features -> sequence -> LSTM -> flatten -> logit (the paper's classifier)."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from models.batch_norm import spans_workers
from models.feature_extractor import LITE_MEAN, LITE_STD, efficientnet_lite
from models.image_size import halvings
from models.lstm import LSTM
from models.timm_model import timm_model

MAP_SIZE = 4  # the small network's feature map is MAP_SIZE x MAP_SIZE
MAX_WIDENING = 8


def build_classifier(
    backbone: str,
    *,
    image_size: int,
    width: int,
    lstm_width: int,
    lstm_depth: int = 2,
    dropout: float = 0.0,
    pretrained: bool = False,
    load_weights: bool = True,
) -> "Classifier":
    """A classifier: forward(images (B, 3, image_size, image_size) in [-1, 1]) -> logits (B,).

    `backbone` is `small`, a CNN whose first layer has `width` channels, or the name of a convolutional network of
    timm, which has its own widths. `dropout` acts before the last layer. `pretrained` loads ImageNet weights: those
    installed with the project for `tf_efficientnet_lite0`, otherwise timm's from the Hugging Face hub; it does not
    without `load_weights`, for a network that gets its own.

    Raises ValueError for a backbone that timm does not have or that gives no feature map (B, C, h, w) at this image
    size, and for weights that do not exist or cannot be fetched.
    """
    if backbone == "small" and pretrained:
        raise ValueError("classifier_pretrained=true needs a timm backbone: `small` has no ImageNet weights")
    is_small = backbone == "small"
    features = small_cnn(image_size, width) if is_small else TimmFeatureMap(backbone, pretrained, load_weights)
    channels, cells = feature_map_shape(features, backbone, image_size)
    return Classifier(
        features=features,
        lstm=LSTM(channels, lstm_width, num_layers=lstm_depth, batch_first=True),
        head=nn.Sequential(nn.Flatten(), Dropout(dropout), nn.Linear(cells * lstm_width, 1)),
    )


class Dropout(nn.Dropout):
    """Several workers drop from their shares what one worker drops from the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        if not spans_workers(self):
            return super().forward(x)
        workers = dist.get_world_size()
        kept = F.dropout(x.new_ones(workers * len(x), *x.shape[1:]), self.p)
        return x * kept.chunk(workers)[dist.get_rank()]


class Classifier(nn.Module):
    """The three pieces in a row; see `build_classifier`."""

    def __init__(self, features: nn.Module, lstm: nn.LSTM, head: nn.Module):
        super().__init__()
        self.features = features
        self.lstm = lstm
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.sequence(images))

    def sequence(self, images: Tensor) -> Tensor:
        """The feature map, row by row: (B, cells, C)."""
        return self.features(images).flatten(2).transpose(1, 2)

    def classify(self, sequence: Tensor) -> Tensor:
        """Logits (B,) of feature maps that `sequence` made."""
        return self.head(self.lstm(sequence)[0]).squeeze(1)


def small_cnn(image_size: int, width: int) -> nn.Sequential:
    """Convolution, batch norm, 2x2 maximum and ReLU, down to a 4x4 map; width, 2 width, ... 8 width channels.

    ReLU commutes with the maximum, and after it has only a quarter of the pixels to do.
    """
    widths = [width * min(2**i, MAX_WIDENING) for i in range(halvings(image_size, MAP_SIZE))]
    layers = []
    for inputs, outputs in zip([3, *widths], widths, strict=False):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class TimmFeatureMap(nn.Module):
    """The last feature map (B, C, h, w) of a timm network, for images in [-1, 1]."""

    def __init__(self, name: str, pretrained: bool, load_weights: bool):
        super().__init__()
        carried = pretrained and name == "tf_efficientnet_lite0"
        fetched = pretrained and load_weights and not carried
        self.network = timm_model(name, pretrained=fetched, features_only=True, out_indices=(-1,))
        mean, std = (self.network.pretrained_cfg[field] for field in ("mean", "std"))
        if carried:
            mean, std = [LITE_MEAN / 255] * 3, [LITE_STD / 255] * 3
        if carried and load_weights:
            weights = efficientnet_lite(0).model.state_dict()
            self.network.load_state_dict({key: weights[key] for key in self.network.state_dict()})
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.network(((images + 1) / 2 - self.mean) / self.std)
        assert features.shape[1] == self.network.feature_info.channels()[-1], "channels come last"
        return features


@torch.no_grad()
def feature_map_shape(features: nn.Module, name: str, image_size: int) -> tuple[int, int]:
    """Channels and number of cells of the feature map, found by running the network once."""
    features.eval()
    try:
        shape = features(torch.zeros(1, 3, image_size, image_size)).shape
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"classifier_backbone={name} cannot be used at image_size={image_size} ({error}); "
            "choose a convolutional network"
        ) from error
    features.train()
    return shape[1], shape[2] * shape[3]
