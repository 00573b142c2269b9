"""One file -> upright RGB pixels without metadata, or the reason why not."""

import numpy as np
import pytest
from PIL import Image

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
