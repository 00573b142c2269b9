"""The image sizes that every network here can be built for."""

import math

IMAGE_SIZES = (32, 64, 128, 256)  # pixels, square; the config allows no other


def halvings(image_size: int, map_size: int) -> int:
    """How many strides of two lie between an image and a square map of `map_size` cells."""
    assert image_size in IMAGE_SIZES, image_size
    return int(math.log2(image_size // map_size))
