"""The image sizes that every network here can be built for."""

import math

IMAGE_SIZES = (32, 64, 128, 256)  # pixels, square


def halvings(image_size: int, map_size: int) -> int:
    """How many strides of two lie between an image and a square map of `map_size` cells.

    Raises ValueError for a size that is not in IMAGE_SIZES.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size={image_size} is not one of {', '.join(map(str, IMAGE_SIZES))}")
    return int(math.log2(image_size // map_size))
