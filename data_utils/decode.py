"""One file -> RGB pixels, or the reason why not."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's other formats are not photographs, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


class BadImage(Exception):
    """A file that is refused; the message is the reason, without the file's name."""


def decode(path: Path, root: Path) -> Image.Image:
    """Read one still photograph as 8-bit RGB: upright by its EXIF orientation, without metadata.

    Grayscale, palette, CMYK and 16-bit images are converted (16 bits are scaled, not clipped).
    Raises `BadImage` for files outside `root` (links followed), pipes and devices, empty or damaged files, files that
    are no image, images over Pillow's pixel limit, several frames, transparent pixels, and floating-point pixels.
    """
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadImage("leads out of the data folder")
        if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
            raise BadImage("not a file")
        return _decode(path)
    except FileNotFoundError:
        raise BadImage("no such file") from None
    except (OSError, RuntimeError) as error:  # of the path: links in a loop, a folder that may not be read
        raise BadImage(f"cannot be decoded ({type(error).__name__}: {error})") from error


def decode_bytes(content: bytes) -> Image.Image:
    """`decode` of a file's content."""
    return _decode(io.BytesIO(content))


def _decode(source: Path | io.BytesIO) -> Image.Image:
    try:
        with Image.open(source, formats=FORMATS) as image:
            _check_header(image)
            image.load()  # a truncated file is found here, not by open() or verify()
            return _without_metadata(_to_rgb(ImageOps.exif_transpose(image)))
    except (BadImage, FileNotFoundError):
        raise
    except UnidentifiedImageError:
        size = source.stat().st_size if isinstance(source, Path) else len(source.getbuffer())
        raise BadImage("empty file" if size == 0 else "not an image in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("too many pixels (decompression bomb)") from None
    except Exception as error:  # damaged bytes can raise nearly anything inside a decoder
        raise BadImage(f"cannot be decoded ({type(error).__name__}: {error})") from error


def square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square of `image`, resized with antialiasing to size x size pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # resize(box=...) would let in pixels from beyond the square
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # above it Pillow only warns
        raise BadImage("too many pixels (decompression bomb)")
    # A phone's MPO file is a photograph with a preview behind it, not an animation.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise BadImage(f"{image.n_frames} frames; a single photograph is expected")
    if image.mode in ("F", "I"):
        raise BadImage("floating-point or 32-bit pixels have no known range")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] < 255:
        raise BadImage("transparent pixels; flatten it onto its background")
    return image.convert("RGB")


def _without_metadata(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.array(image))
