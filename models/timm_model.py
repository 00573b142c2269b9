"""timm's networks by name, with errors that name the way out."""

import difflib

import timm
from torch import nn


def timm_model(name: str, *, pretrained: bool, **options) -> nn.Module:
    """`timm.create_model`; `pretrained` weights come from the Hugging Face hub or its cache.

    Raises ValueError for an unknown name, listing similar ones, and for weights that cannot be fetched.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(f"timm has no network {name!r}; similar names: {', '.join(near) or 'none'}")
    if not pretrained:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"no ImageNet weights of {name} from the Hugging Face hub ({type(error).__name__}: {error}). "
            "Fill the hub's cache on a machine with internet and copy it here (HF_HOME names the folder), "
            "or set pretrained to false."
        ) from error
