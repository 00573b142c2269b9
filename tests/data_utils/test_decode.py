"""One file -> upright RGB pixels without metadata, or the reason why not."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from data_utils.decode import BadImage, decode, square

RAMP = np.linspace(0, 255, 48 * 48).reshape(48, 48)


def photograph(seed=0, size=48):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def refusal(path, root=None):
    with pytest.raises(BadImage) as error:
        decode(path, root or path.parent)
    return str(error.value)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGBA"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    photograph().convert(mode).save(path)
    image = decode(path, tmp_path)
    assert image.mode == "RGB" and image.size == (48, 48)
    if mode in ("CMYK", "RGBA"):
        assert np.abs(np.asarray(image, int) - np.asarray(photograph(), int)).max() <= 1


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(tmp_path / "a.png")
    pixels = np.asarray(decode(tmp_path / "a.png", tmp_path))[..., 0]
    assert np.abs(pixels - RAMP).max() <= 1


def display_p3() -> bytes:
    """The profile of phones: that of sRGB with other primaries and another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name, place, _ = struct.unpack_from(">4sII", profile, entry)
        if name in primaries:
            struct.pack_into(">3i", profile, place + 8, *(round(part * 65536) for part in primaries[name]))
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "P3 !".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_of_another_profile_are_converted(tmp_path, mode):
    plain = Image.new("RGB", (8, 8), (156, 58, 55))
    plain.convert(mode).save(tmp_path / "a.png", icc_profile=display_p3())
    assert np.abs(np.asarray(decode(tmp_path / "a.png", tmp_path), int)[0, 0] - (170, 45, 45)).max() <= 6
    for other in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile"):
        plain.save(tmp_path / "b.png", icc_profile=other)
        assert np.array_equal(decode(tmp_path / "b.png", tmp_path), plain)


def test_exif_orientation_is_applied_and_metadata_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera of a patient"
    wide = Image.new("RGB", (40, 20))
    wide.paste((255, 255, 255), (0, 0, 20, 20))  # the left half; on top once turned clockwise
    wide.save(tmp_path / "a.jpg", exif=exif, comment=b"a name", quality=95)
    image = decode(tmp_path / "a.jpg", tmp_path)
    assert image.size == (20, 40) and image.info == {} and not image.getexif()
    assert np.asarray(image)[:15].mean() > 250 and np.asarray(image)[25:].mean() < 5


def test_damaged_files_are_refused(tmp_path):
    photograph().save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for name, content, reason in [
        ("empty.jpg", b"", "empty file"),
        ("text.jpg", b"dear diary", "not an image"),
        ("truncated.jpg", whole[: len(whole) // 2], "cannot be decoded"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert reason in refusal(tmp_path / name)
    assert "no such file" in refusal(tmp_path / "missing.jpg")


def test_unsuitable_images_are_refused(tmp_path):
    frames = [photograph(seed) for seed in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert "3 frames" in refusal(tmp_path / "film.gif")
    glass = photograph().convert("RGBA")
    glass.putpixel((3, 3), (0, 0, 0, 100))
    glass.save(tmp_path / "glass.png")
    assert "transparent" in refusal(tmp_path / "glass.png")
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "float.tif")
    assert "range" in refusal(tmp_path / "float.tif")


@pytest.mark.parametrize(
    "limit", [2000, 1000]
)  # above the limit Pillow warns, above twice the limit it raises
def test_decompression_bomb(tmp_path, monkeypatch, limit):
    photograph().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "too many pixels" in refusal(tmp_path / "a.png")


@pytest.mark.filterwarnings(
    "ignore::PIL.Image.DecompressionBombWarning"
)  # a user's run does not raise on warnings
def test_decompression_bomb_without_strict_warnings(tmp_path, monkeypatch):
    photograph().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert "too many pixels" in refusal(tmp_path / "a.png")


def test_nothing_outside_the_folder_is_read(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    photograph().save(tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    assert "leads out" in refusal(root / "link.png", root)
    assert "leads out" in refusal(root / ".." / "outside.png", root)


def test_square_keeps_the_centre():
    wide = Image.new("RGB", (90, 30))
    wide.paste((255, 255, 255), (30, 0, 60, 30))
    assert np.asarray(square(wide, 15)).min() == 255


# ---- photographs as phones and scanners write them


def with_exif(entries: bytes) -> bytes:
    photograph(1, 64).save(file := io.BytesIO(), "JPEG")
    whole, block = file.getvalue(), b"Exif\0\0" + entries
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]


def test_a_broken_field_of_exif_costs_no_photograph(tmp_path):
    """Orientation 6, and a resolution of -1/0 whose type the standard does not allow there."""
    entries = struct.pack("<H", 2) + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack("<HHII", 0x11A, 10, 1, 38)
    (tmp_path / "a.jpg").write_bytes(with_exif(b"II*\0\x08\0\0\0" + entries + b"\0\0\0\0" + struct.pack("<ii", -1, 0)))
    photograph(1, 64).save(tmp_path / "b.jpg")
    plain = decode(tmp_path / "b.jpg", tmp_path)
    turned = decode(tmp_path / "a.jpg", tmp_path)
    assert turned.tobytes() == plain.transpose(Image.Transpose.ROTATE_270).tobytes() and not turned.getexif()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_sixteen_keep_their_range(tmp_path, bits):
    Image.fromarray((RAMP / 255 * (2**bits - 1)).astype(np.uint16)).save(tmp_path / "a.tif")
    assert np.abs(np.asarray(decode(tmp_path / "a.tif", tmp_path))[..., 0] - RAMP).max() <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_file_whose_zero_is_white_is_inverted(tmp_path, compression):
    eight_bits = np.rint(255 - RAMP).astype(np.uint8)  # which Pillow writes inverted
    for levels in (eight_bits, (RAMP * 257).astype(np.uint16)):
        Image.fromarray(levels).save(tmp_path / "a.tif", tiffinfo={262: 0}, compression=compression)
        assert np.abs(np.asarray(decode(tmp_path / "a.tif", tmp_path))[..., 0] - (255 - RAMP)).max() <= 1


def sixteen_bit_png(pixels: np.ndarray) -> bytes:
    """A PNG file of colours uint16 (H, W, 3), which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_fewer_than_sixteen_bits_are_refused(tmp_path):
    """Pillow keeps the upper eight bits, of which they use few."""
    colours = np.repeat(RAMP[..., None] / 255, 3, axis=2)
    (tmp_path / "a.png").write_bytes(sixteen_bit_png((colours * (2**16 - 1)).astype(np.uint16)))
    assert np.abs(np.asarray(decode(tmp_path / "a.png", tmp_path))[..., 0] - RAMP).max() <= 1
    (tmp_path / "a.png").write_bytes(sixteen_bit_png((colours * (2**14 - 1)).astype(np.uint16)))
    assert "14 or fewer of its 16 bits" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["avif", "jp2", "jfif", "heic"])
def test_formats_of_phones(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif")
    smooth = Image.fromarray(np.repeat(RAMP.astype(np.uint8)[..., None], 3, axis=2))
    smooth.save(tmp_path / f"a.{suffix}", **({"format": "JPEG"} if suffix == "jfif" else {}))
    assert np.abs(np.asarray(decode(tmp_path / f"a.{suffix}", tmp_path), int) - np.asarray(smooth, int)).mean() < 6


def test_a_heic_photograph_of_another_name_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("data_utils.decode.READS_HEIC", False)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    assert "a HEIC photograph" in refusal(tmp_path / "a.jpg") and "pillow-heif" in refusal(tmp_path / "a.jpg")


def test_a_large_jpeg_file_is_decoded_at_a_part_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("data_utils.decode.LARGE", 2000)
    whole = Image.fromarray(np.repeat(RAMP.astype(np.uint8)[..., None], 3, axis=2)).resize((480, 640))
    whole.save(tmp_path / "a.jpg")
    whole.save(tmp_path / "progressive.jpg", progressive=True)
    assert decode(tmp_path / "a.jpg", tmp_path).size == (480, 640)
    reduced = decode(tmp_path / "a.jpg", tmp_path, shorter_side=100)
    assert reduced.size == (120, 160)
    assert np.abs(np.asarray(square(reduced, 20), int) - np.asarray(square(whole, 20), int)).max() <= 6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # a phone's 200 megapixels are over it
    assert decode(tmp_path / "a.jpg", tmp_path, shorter_side=100).size == (120, 160)
    with pytest.raises(BadImage, match="too many pixels"):  # held in memory whole
        decode(tmp_path / "progressive.jpg", tmp_path, shorter_side=100)
    monkeypatch.setattr("data_utils.decode.MAX_REDUCED", 3000)
    with pytest.raises(BadImage, match="too many pixels"):
        decode(tmp_path / "a.jpg", tmp_path, shorter_side=100)


MEASURE = """
import sys
from pathlib import Path
from data_utils.layouts import Record, Source
from data_utils.patches import decode_all
root = Path(sys.argv[1])
records = [Record(root / "a.jpg", number % 2, str(number)) for number in range(16)]
patches, *_ = decode_all(Source("", root, ("a", "b"), records), 64, False, lambda *counts: None)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(patches), int(peak.split()[1]) // 1024)
"""


def test_photographs_of_48_megapixels_take_little_memory(tmp_path):
    Image.effect_noise((800, 600), 50).resize((8000, 6000)).convert("RGB").save(tmp_path / "a.jpg")
    run = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=True)
    count, mebibytes = map(int, run.stdout.split())
    assert count == 16 and mebibytes < 700
