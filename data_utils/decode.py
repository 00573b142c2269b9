"""One file -> RGB pixels, or the reason why not."""

import contextlib
import io
import threading
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin, UnidentifiedImageError

try:
    import pillow_heif
except ImportError:  # the extra `heif` is not installed
    READS_HEIC = False
else:
    pillow_heif.register_heif_opener()
    READS_HEIC = True

# Pillow's other formats are not photographs, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "AVIF", "JPEG2000", *(("HEIF",) if READS_HEIC else ()))
HEIC = {".heic", ".heif"}
SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif",
    ".avif", ".jp2", ".j2k", ".jpf", ".jpx", *(HEIC if READS_HEIC else ()),
}  # fmt: skip
UNREAD = (HEIC - SUFFIXES) | {  # photographs, too
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".jxl", ".psd", ".dcm",
}  # fmt: skip
SEVERAL_IMAGES = ("MPO", "HEIF")  # phones put previews and depth maps behind the photograph
LARGE = 1 << 22  # pixels; larger JPEG files are decoded at a part of their size, other files one at a time
MAX_REDUCED = 1 << 28  # pixels of a JPEG file that is decoded at a part of its size: phones reach 200 million
ONE_LARGE = threading.Lock()
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use of 16
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation
HEIC_ADVICE = "pip install pillow-heif reads HEIC, or convert to JPEG"


class BadImage(Exception):
    """A file that is refused; the message is the reason, without the file's name."""


def decode(path: Path, root: Path, shorter_side: int | None = None) -> Image.Image:
    """Read one still photograph as 8-bit RGB: upright by its EXIF orientation, without metadata.

    With `shorter_side`, a JPEG file of over four megapixels is decoded at 1/2, 1/4 or 1/8 of its size, as long as
    its shorter side keeps that many pixels: a phone's 200 megapixels then take little memory. Grayscale, palette,
    CMYK and 16-bit images are converted, and so are colours of another profile than sRGB, as phones write it; 16 bits
    are scaled from the 8, 10, 12, 14 or 16 bits that are used.

    Raises `BadImage` for files outside `root` (links followed), pipes and devices, empty or damaged files, files that
    are no image, too many pixels, several frames, transparent pixels, and pixels of unknown range.
    """
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadImage("leads out of the data folder")
        if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
            raise BadImage("not a file")
        return _decode(path, shorter_side)
    except FileNotFoundError:
        raise BadImage("no such file") from None
    except (OSError, RuntimeError) as error:  # of the path: links in a loop, a file that may not be read
        raise BadImage(f"cannot be decoded ({type(error).__name__}: {error})") from error


def decode_bytes(content: bytes, shorter_side: int | None = None) -> Image.Image:
    """`decode` of a file's content."""
    return _decode(content, shorter_side)


def _decode(source: Path | bytes, shorter_side: int | None) -> Image.Image:
    try:
        with _open(source) as image, _prepare_to_load(image, shorter_side):
            sixteen_bits = ";16" in str(image.tile)
            image.load()  # a truncated file is found here, not by open() or verify()
            rgb = _to_rgb(_upright(image), sixteen_bits)
            return _without_metadata(ImageOps.invert(rgb) if sixteen_bits and _white_is_zero(image) else rgb)
    except (BadImage, FileNotFoundError):
        raise
    except (UnidentifiedImageError, SyntaxError):
        raise BadImage(_unknown_format(source)) from None
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


def _open(source: Path | bytes) -> Image.Image:
    file = source if isinstance(source, Path) else io.BytesIO(source)
    if _starts_with(source, 0, b"\xff\xd8\xff"):  # Image.open refuses one of 200 megapixels, whatever is made of it
        return JpegImagePlugin.JpegImageFile(file)
    return Image.open(file, formats=FORMATS)


def _prepare_to_load(image: Image.Image, shorter_side: int | None) -> contextlib.AbstractContextManager:
    """Check the header and choose the size to decode at; the context lets one file at a time take much memory."""
    # A progressive JPEG file is held in memory whole, a baseline one row by row.
    in_rows = shorter_side is not None and image.format == "JPEG" and not image.info.get("progressive")
    is_large = image.width * image.height > LARGE
    _check_header(image, limit=MAX_REDUCED if in_rows else Image.MAX_IMAGE_PIXELS)
    if shorter_side and is_large:
        image.draft(None, (shorter_side, shorter_side))  # only JPEG files heed it
    return ONE_LARGE if is_large and not in_rows else contextlib.nullcontext()


def _starts_with(source: Path | bytes, place: int, magic: bytes) -> bool:
    with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        return file.read(place + len(magic))[place:] == magic


def _unknown_format(source: Path | bytes) -> str:
    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        return "empty file"
    if _starts_with(source, 4, b"ftyphei") and not READS_HEIC:
        return f"a HEIC photograph, whatever its name says; {HEIC_ADVICE}"
    return "not an image in a known format"


def _check_header(image: Image.Image, limit: int) -> None:
    if image.width * image.height > limit:  # Pillow only warns
        raise BadImage("too many pixels (decompression bomb)")
    if getattr(image, "n_frames", 1) > 1 and image.format not in SEVERAL_IMAGES:
        raise BadImage(f"{image.n_frames} frames; a single photograph is expected")
    if image.mode in ("F", "I"):
        raise BadImage("floating-point or 32-bit pixels have no known range")


def _upright(image: Image.Image) -> Image.Image:
    """`ImageOps.exif_transpose` would write the other fields again, and fail at those that break the standard."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged block raises nearly anything, and tells no orientation
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _to_rgb(image: Image.Image, sixteen_bits: bool) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise BadImage("transparent pixels; flatten it onto its background")
    image = image if image.mode in ("RGB", "CMYK") else image.convert("RGB")
    if sixteen_bits and 0 < max(high for _, high in image.getextrema()) < 64:  # Pillow keeps the upper 8 of 16 bits
        raise BadImage("only 14 or fewer of its 16 bits a colour are used; save it with 8 bits a colour")
    return _in_srgb(image)


def _in_srgb(image: Image.Image) -> Image.Image:
    """RGB pixels of an RGB or CMYK image, whatever its profile; one that cannot be used, or of grey levels, is passed
    over."""
    if content := image.info.get("icc_profile"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
            if "srgb" not in ImageCms.getProfileDescription(profile).lower():
                return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _white_is_zero(image: Image.Image) -> bool:
    """Whether the gray levels of a TIFF file are inverted, which Pillow turns round in 8 bits and not in 16."""
    return getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0


def _from_sixteen_bits(pixels: np.ndarray) -> Image.Image:
    """Gray levels (H, W) scaled to 8 bits from the smallest of `DEPTHS` that holds the brightest."""
    depth = next(depth for depth in DEPTHS if pixels.max() < 1 << depth)
    top = (1 << depth) - 1
    levels = np.rint(np.arange(top + 1) / (top / 255)).astype(np.uint8)
    return Image.fromarray(levels[pixels]).convert("RGB")


def _without_metadata(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image))
