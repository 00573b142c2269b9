"""The image sizes that networks here can be built for."""

import math

IMAGE_SIZES = (16, 32, 64, 128, 256)  # pixels, square; 16 only as a level of a pyramid, the config has the others


def halvings(image_size: int, map_size: int) -> int:
    """How many strides of two lie between an image and a square map of `map_size` cells."""
    assert image_size in IMAGE_SIZES, image_size
    return int(math.log2(image_size // map_size))
