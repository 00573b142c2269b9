"""Which layout was recognised, which class is positive, who belongs to which group."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_utils.errors import DataError
from data_utils.layouts import recognise
from data_utils.layouts.wound_patches import _wound_pixels, cut_patches
from tests.support.layouts import listed, touch


def test_folder_per_class(tmp_path):
    touch(tmp_path, "infected/p1_a.jpg", "infected/p2_a.JPG", "healthy/deep/p1_b.png")
    touch(tmp_path, "healthy/notes.txt", "healthy/._p1_b.png", "empty/readme.md")
    source = recognise(tmp_path)
    assert source.layout == "a folder per class" and source.class_names == ("healthy", "infected")
    assert listed(source) == {
        ("infected/p1_a.jpg", 1, "p1"),
        ("infected/p2_a.JPG", 1, "p2"),
        ("healthy/deep/p1_b.png", 0, "p1"),
    }
    assert any(note.startswith("2 other files") for note in source.notes)


def test_positive_class_is_named_not_guessed(tmp_path):
    touch(tmp_path, "zebra/a_1.png", "apple/a_1.png")
    with pytest.raises(DataError, match=r"which of 'apple', 'zebra' .*--positive zebra or --positive apple"):
        recognise(tmp_path)
    assert recognise(tmp_path, positive="apple").class_names == ("zebra", "apple")
    with pytest.raises(DataError, match="--positive"):
        recognise(tmp_path, positive="pear")


def test_two_positive_names_are_ambiguous(tmp_path):
    with pytest.raises(DataError, match="--positive"):
        recognise(touch(tmp_path, "ulcer/a_1.png", "infected/a_1.png"))


@pytest.mark.parametrize("folders", [(), ("a",), ("a", "b", "infected")])
def test_number_of_classes(tmp_path, folders):
    touch(tmp_path, *(f"{name}/x_1.png" for name in folders))
    with pytest.raises(DataError, match=rf"{len(folders)} class\(es\)"):
        recognise(tmp_path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"neither a folder nor a \.csv"):
        recognise(touch(tmp_path, "a.bin") / "a.bin")
    with pytest.raises(DataError, match=r"unzip (\S*)a\.zip -d \1a; then give --data \1a$"):
        recognise(touch(tmp_path, "a.zip") / "a.zip")
    with pytest.raises(DataError, match=r"is a workbook; save it as CSV"):
        recognise(touch(tmp_path, "a.xlsx") / "a.xlsx")


def test_a_home_that_no_shell_has_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "feet/infected/p1_a.jpg", "feet/healthy/p2_a.jpg")
    assert len(recognise(Path("~/feet")).records) == 2
    with pytest.raises(DataError, match="does not exist"):
        recognise(Path("~/hands"))


def test_groups_from_names(tmp_path):
    touch(tmp_path, *(f"infected/p{i}.png" for i in range(10)), *(f"healthy/q{i}.png" for i in range(10)))
    source = recognise(tmp_path)
    assert len({r.group for r in source.records}) == 20 and any("WARNING" in note for note in source.notes)
    touch(tmp_path, "healthy/one_with.png")
    with pytest.raises(DataError, match=r"20 of 21 file names.*--group-pattern"):
        recognise(tmp_path)
    groups = {r.group for r in recognise(tmp_path, group_pattern=r"(\w)").records}
    assert groups == {"p", "q", "o"}


@pytest.mark.parametrize("pattern", ["(", "p", "(p)(q)"])
def test_bad_group_pattern(tmp_path, pattern):
    touch(tmp_path, "infected/p_1.png", "healthy/q_1.png")
    with pytest.raises(DataError, match="--group-pattern"):
        recognise(tmp_path, group_pattern=pattern)


@pytest.mark.parametrize("below", ["", "Infection", "x/y/Infection"])
def test_part_b(tmp_path, below):
    folder = tmp_path / below if below else tmp_path / "Infection"
    touch(folder, "Aug-Negative/pat042_1X_M.jpg", "Aug-Positive/pat042_2X.jpg", "Aug-Positive/pat043_1X.jpg")
    touch(folder.parent, "Ischaemia/Aug-Negative/pat1_1X.jpg", "Ischaemia/Aug-Positive/pat2_1X.jpg")
    source = recognise(folder if not below else tmp_path)
    assert source.layout.startswith("DFU Part B") and source.class_names == ("Aug-Negative", "Aug-Positive")
    assert sorted((r.label, r.group) for r in source.records) == [(0, "pat042"), (1, "pat042"), (1, "pat043")]
    assert any("Ischaemia" in note for note in source.notes)


@pytest.mark.parametrize(("strays", "passes"), [(1, True), (2, False)])
def test_part_b_tolerates_one_name_in_a_hundred(tmp_path, strays, passes):
    root = tmp_path / "Infection"
    touch(root, *(f"Aug-Negative/p{i}_1X.jpg" for i in range(100)), "Aug-Positive/q_1X.jpg")
    touch(root, *(f"Aug-Positive/stray{i}.jpg" for i in range(strays)))
    if passes:
        assert len(recognise(root).records) == 102
    else:
        with pytest.raises(DataError, match="do not match the group pattern"):
            recognise(root)


def segmented(wounds, size=256):
    """A photograph of skin with red rectangles on black ground, and its mask."""
    photograph, mask = Image.new("RGB", (size, size)), Image.new("L", (size, size))
    ImageDraw.Draw(photograph).rectangle((0, 0, size - 1, size * 3 // 4), fill=(210, 160, 130))
    for wound in wounds:
        ImageDraw.Draw(photograph).rectangle(wound, fill=(180, 30, 30))
        ImageDraw.Draw(mask).rectangle(wound, fill=255)
    return photograph, mask


def test_patches_are_cut_around_wounds_and_from_skin():
    photograph, mask = segmented([(20, 20, 59, 59), (150, 30, 179, 69), (200, 150, 203, 152)])
    patches = cut_patches(photograph, mask)
    assert sorted(name for _, name in patches) == ["skin", "skin", "ulcer", "ulcer"]  # the speck is left out
    for patch, name in patches:
        assert patch.width == patch.height >= 32
        red = np.all(np.asarray(patch) == (180, 30, 30), axis=2).mean()
        black = np.all(np.asarray(patch) == 0, axis=2).mean()
        assert (red > 0.2) if name == "ulcer" else (red == 0 and black <= 0.1)
    again = cut_patches(photograph, mask)
    assert all(a == b for (a, _), (b, _) in zip(patches, again, strict=True))


def test_kinds_of_tissue_and_blurred_edges_in_masks():
    photograph, mask = segmented([(20, 20, 59, 59), (150, 30, 179, 69)])
    tissues = np.asarray(mask) // 255
    tissues[:, 150:] *= 3
    for values in (tissues, tissues * 85):
        assert [name for _, name in cut_patches(photograph, Image.fromarray(values))].count("ulcer") == 2
    small = mask.resize((64, 64), Image.Resampling.BILINEAR).resize(mask.size, Image.Resampling.BILINEAR)
    wound = np.asarray(small) > 127
    assert (_wound_pixels(small) == wound).all() and 0 < wound.mean() < 1


def test_photograph_without_wound_or_skin():
    assert cut_patches(Image.new("RGB", (64, 64)), Image.new("L", (64, 64))) == []


def test_segmentation_challenge(tmp_path):
    touch(
        tmp_path,
        "train/images/1.png",
        "train/labels/1.png",
        "validation/images/1.png",
        "validation/labels/1.png",
    )
    touch(tmp_path, "test/images/9.png")
    source = recognise(tmp_path)
    assert "Segmentation" in source.layout and source.class_names == ("skin", "ulcer")
    assert len({r.group for r in source.records}) == 2 and all(
        r.mask.parent.name == "labels" for r in source.records
    )
    assert any("test" in note for note in source.notes) and any("same patient" in note for note in source.notes)
    assert not any("same patient" in note for note in recognise(tmp_path, group_pattern=r"(\d)").notes)
    touch(tmp_path, "train/images/2.png")
    with pytest.raises(DataError, match="'2'"):
        recognise(tmp_path)
