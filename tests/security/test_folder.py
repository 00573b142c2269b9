"""A folder of photographs cannot lead out of itself, hang the command, or fill the memory."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from data_utils.decode import BadImage, decode
from data_utils.errors import DataError
from data_utils.layouts import recognise
from data_utils.prepare import prepare


@pytest.fixture
def outside(tmp_path) -> Path:
    """A photograph beside the folder that the command is given."""
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "outside.png")
    return tmp_path / "outside.png"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "data"
    for name in ("clean", "infected"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / name / "p_1.png")
    return folder


def refusal(path: Path, root: Path) -> str:
    with pytest.raises(BadImage) as error:
        decode(path, root)
    return str(error.value)


@pytest.mark.parametrize("target", ["../../outside.png", "{outside}", "chain.png", "/dev/zero", "/proc/self/environ"])
def test_linked_files_lead_nowhere(root, outside, target):
    (root / "clean" / "chain.png").symlink_to("../../outside.png")
    (root / "clean" / "link.png").symlink_to(target.format(outside=outside))
    assert refusal(root / "clean" / "link.png", root) == "leads out of the data folder"


def test_a_link_within_the_folder_is_followed(root):
    (root / "clean" / "again.png").symlink_to("../infected/p_1.png")
    assert decode(root / "clean" / "again.png", root).size == (32, 32)


def test_a_folder_given_as_a_link_is_its_target(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert len(recognise(tmp_path / "link").records) == 2
    assert decode(tmp_path / "link" / "clean" / "p_1.png", tmp_path / "link").size == (32, 32)


def test_links_in_a_loop_end(root):
    (root / "clean" / "a_1.png").symlink_to("b_1.png")
    (root / "clean" / "b_1.png").symlink_to("a_1.png")
    (root / "clean" / "deeper").symlink_to("..")
    assert "loop" in refusal(root / "clean" / "a_1.png", root).lower()
    source = recognise(root)
    assert sorted(record.path.name for record in source.records) == ["a_1.png", "b_1.png", "p_1.png", "p_1.png"]
    (root / "itself").symlink_to("itself")
    assert len(recognise(root).records) == 4


@pytest.mark.parametrize(
    ("link", "beside"),
    [("infected", "clean"), ("Infection/Aug-Positive", "Infection/Aug-Negative"), ("labels", "images")],
)
def test_linked_folders_are_named_not_listed(tmp_path, link, beside):
    """All the disk could lie behind one."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret_1.png").touch()
    data = tmp_path / "data"
    (data / beside).mkdir(parents=True)
    (data / link).symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match=f"{link}' is a link that leads out of") as error:
        recognise(data)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("path", ["../outside.png", "{outside}", "clean/../../outside.png", "clean/link.png"])
def test_a_manifest_names_nothing_outside(root, outside, path):
    (root / "clean" / "link.png").symlink_to(outside)
    rows = ["path,label,group", f"{path.format(outside=outside)},ulcer,1", "clean/p_1.png,skin,2"]
    (root / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    by_link = r"1 file\(s\).*cannot be used.*\n.*leads out of the data folder$"
    with pytest.raises(DataError, match=by_link if "link" in path else "1 of 2 photographs lie outside of"):
        prepare(root / "list.csv", root.parent / "out", image_size=16)
    assert not (root.parent / "out").exists()


@pytest.mark.timeout(20)
def test_pipes_and_folders_are_no_photographs(root):
    os.mkfifo(root / "clean" / "pipe.png")
    (root / "clean" / "folder.png").mkdir()
    assert {refusal(root / "clean" / name, root) for name in ("pipe.png", "folder.png")} == {"not a file"}


@pytest.mark.parametrize("path", ["/dev/null", "pipe.csv"])
@pytest.mark.timeout(20)
def test_what_is_neither_folder_nor_file_is_refused(tmp_path, path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"neither a folder nor a \.csv manifest"):
        recognise(tmp_path / path)


def test_an_unreadable_folder_within_a_class_is_an_error(root, monkeypatch):
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    (root / "clean" / "locked").mkdir()
    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(DataError, match=r"cannot be read: .*Permission denied.*locked"):
        recognise(root)


# ---- decompression bombs: a few kilobytes that would be gigabytes of pixels


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def huge_bmp(side: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # a user's run does not raise on it
@pytest.mark.parametrize(
    ("name", "content"), [("a.png", huge_png(20_000)), ("a.bmp", huge_bmp(30_000)), ("b.png", huge_png(9_600))]
)
def test_a_bomb_is_refused_by_its_header(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert len(content) < 60_000
    assert refusal(tmp_path / name, tmp_path) == "too many pixels (decompression bomb)"


def test_the_limit_on_pixels_is_on():
    import data_utils.decode  # noqa: F401  nothing that it loads may have lifted the limit

    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_bomb_of_text_is_refused(tmp_path):
    """A compressed text chunk of 20 megabytes in a small image."""
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    small = (tmp_path / "small.png").read_bytes()
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 9))
    (tmp_path / "text.png").write_bytes(small[:33] + text + small[33:])
    assert "cannot be decoded" in refusal(tmp_path / "text.png", tmp_path)
