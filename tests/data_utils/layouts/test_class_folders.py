"""Class folders as exports have them: with sides of a split, masks, patients, unread formats and nested layouts."""

import os
import re
from collections import Counter

import pytest

from data_utils.errors import DataError
from data_utils.layouts import image_files, recognise
from tests.support.layouts import listed, touch

BOTH = ("healthy", "ulcer")


def notes(source):
    return " ".join(source.notes)


@pytest.mark.parametrize(
    "path", ["{side}/{label}/{n}.jpg", "{label}/{side}/{n}.jpg", "export/{side}/{label}/{n}.jpg"]
)
def test_sides_of_a_split_are_no_classes(tmp_path, path):
    names = {"train": "Train", "validation": "valid", "test": "TEST"}
    for side, name in names.items():
        touch(tmp_path, *(path.format(side=name, label=label, n=f"{side}-{label}") for label in BOTH))
    source = recognise(tmp_path)
    assert source.class_names == BOTH and len({r.group for r in source.records}) == 6
    assert all(r.side == r.path.stem.split("-")[0] for r in source.records)
    assert "WARNING: The photographs come divided into train, validation, test: --split given" in notes(source)


def test_a_side_beside_the_classes_joins_them_or_is_left_out(tmp_path):
    touch(tmp_path, "healthy/a.jpg", "ulcer/b.jpg", "test/healthy/c.jpg", "test/ulcer/d.jpg")
    sides = {r.path.stem: r.side for r in recognise(tmp_path).records}
    assert sides == {"a": None, "b": None, "c": "test", "d": "test"}
    touch(tmp_path, "TestSet/e.jpg")
    source = recognise(tmp_path)
    assert len(source.records) == 4 and "'TestSet' names no class for its photographs and was left out" in notes(source)


def test_patients_below_sides_are_groups_across_them(tmp_path):
    sides = ("train", "test")
    touch(tmp_path, *(f"{side}/{c}/{c}{n}/{side}.jpg" for side in sides for c in BOTH for n in range(2)))
    assert sizes(recognise(tmp_path)) == [2] * 4


@pytest.mark.parametrize(
    "masks",
    [("masks/a.png",), ("ulcer/masks/b.png", "healthy/masks/a.png"), ("ulcer/b_mask.png", "ulcer/b_mask_1.png")],
)
def test_masks_are_no_photographs_and_no_class(tmp_path, masks):
    source = recognise(touch(tmp_path, "healthy/a.jpg", "ulcer/b.jpg", *masks))
    assert source.class_names == BOTH and len(source.records) == 2
    assert "mask" in notes(source) and "left out" in notes(source)


def test_masks_above_the_classes(tmp_path):
    touch(tmp_path, *(f"{kind}/{label}/{label}.png" for kind in ("images", "masks") for label in BOTH))
    source = recognise(tmp_path)
    assert listed(source) == {(f"images/{label}/{label}.png", n, f"{label}.png") for n, label in enumerate(BOTH)}


@pytest.mark.parametrize("names", [("1", "2"), ("1", "3"), ("a", "1")])
def test_numbered_classes_are_asked_for(tmp_path, names):
    touch(tmp_path, *(f"{name}/x.png" for name in names))
    with pytest.raises(DataError, match=r"which of .* is the positive class"):
        recognise(tmp_path)
    assert recognise(tmp_path, positive=names[0]).class_names == names[::-1]


def test_zero_and_one_need_no_question(tmp_path):
    assert recognise(touch(tmp_path, "0/x.png", "1/x.png")).class_names == ("0", "1")


def test_two_of_several_classes(tmp_path):
    touch(tmp_path, *(f"{name}/x.png" for name in ("foot", "leg", "neck", "arm")))
    with pytest.raises(DataError, match=r"4 class\(es\).*--positive arm --negative foot"):
        recognise(tmp_path)
    with pytest.raises(DataError, match=r"--positive foot --negative arm"):
        recognise(tmp_path, positive="foot")
    source = recognise(tmp_path, positive="foot", negative="leg,neck")
    assert source.class_names == ("leg+neck", "foot") and len(source.records) == 3
    assert "'arm' are in neither of the two" in notes(source)
    for wrong, message in [("hand", "holds no class 'hand'"), ("foot,leg", "is named in --positive and in --negative")]:
        with pytest.raises(DataError, match=message):
            recognise(tmp_path, positive="foot", negative=wrong)


def test_several_layouts_below_one_folder_are_named(tmp_path):
    touch(tmp_path, "DFU/Original Images/1.jpg", "DFU/TestSet/2.jpg")
    touch(tmp_path, "DFU/Patches/Abnormal(Ulcer)/3.jpg", "DFU/Patches/Normal(Healthy skin)/4.jpg")
    with pytest.raises(DataError, match="holds several folders") as error:
        recognise(tmp_path)
    assert f"--data '{tmp_path}/DFU/Patches'" in str(error.value)
    assert recognise(tmp_path / "DFU/Patches").class_names == ("Normal(Healthy skin)", "Abnormal(Ulcer)")


def test_classes_below_patients_are_to_be_put_above_them(tmp_path):
    touch(tmp_path, *(f"p{n}/{label}/1.jpg" for n in range(4) for label in BOTH))
    with pytest.raises(DataError, match=r"4 folders, 'p0' for one, .*put the classes above them, such as healthy/p0/"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a.jpg", "labels.csv"), "--data .*labels.csv"),
        (("photos/a.jpg", "photos.zip"), "unzip .*photos.zip"),
        (("train/images/a.jpg", "train/labels/a.txt", "data.yaml"), "boxes as YOLO has them.*folders per class"),
        (("images/a.jpg", "labels/labels.csv"), r"no masks, but a list.*\(images/\.\.\.\).*--data .*/labels.csv"),
        (("images/train/a.jpg", "labels/train/a.txt"), "Boxes as YOLO has them.*folders per class"),
        (("train/a.jpg", "train/_annotations.coco.json"), "Boxes as COCO has them"),
    ],
)
def test_what_else_was_seen_is_said(tmp_path, files, said):
    with pytest.raises(DataError, match=said):
        recognise(touch(tmp_path, *files))


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".avif", ".jp2"])
def test_other_names_of_formats_that_are_read(tmp_path, suffix):
    assert len(recognise(touch(tmp_path, f"ulcer/a{suffix}", "healthy/b.png")).records) == 2


def test_photographs_of_unread_formats_are_counted_by_class(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "SUFFIXES", image_files.SUFFIXES - image_files.HEIC)
    monkeypatch.setattr(image_files, "UNREAD", image_files.UNREAD | image_files.HEIC)
    touch(tmp_path, *(f"ulcer/{n}.HEIC" for n in range(4)), "ulcer/a.jpg", "healthy/b.jpg", "healthy/c.dng")
    said = notes(recognise(tmp_path))
    assert "WARNING: 4 of 5 photographs of 'ulcer'" in said and "pip install pillow-heif" in said
    assert "WARNING: 1 of 2 photographs of 'healthy'" in said and "convert them to JPEG" in said


# ---- groups


def folder(tmp_path, *names):
    """Names below the classes, by turns."""
    return touch(tmp_path, *(f"{BOTH[n % 2]}/{name}" for n, name in enumerate(names)))


def sizes(source):
    return sorted(Counter(r.group for r in source.records).values())


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        ([f"IMG_{n}.jpg" for n in range(60)], "60 of 60 file names are a camera's"),
        ([f"2021{n % 12 + 1:02}04_1{n:05}.jpg" for n in range(60)], "60 of 60 file names are a camera's"),
        ([f"IMG_{n}.jpg" for n in range(60)] + [f"p{n}_1.jpg" for n in range(9)], "60 of 69 file names"),
        ([f"foot_{n}.jpg" for n in range(60)], "'foot' would be one patient with 60 of 60 photographs"),
        ([f"{n % 9}_{n}.jpg" for n in range(60)], "9 patients would have 60 photographs"),
        ([f"visit{n % 5}/{n}.jpg" for n in range(60)], "folder .* one patient with 12 of 60|5 patients would have 60"),
    ],
)
def test_guessed_groups_that_swallow_the_set_are_refused(tmp_path, names, seen):
    with pytest.raises(DataError, match=seen) as error:
        recognise(folder(tmp_path, *names))
    assert r"--group-pattern '(.+)\.'" in str(error.value)
    assert sizes(recognise(tmp_path, group_pattern=r"(.+)\.")) == [1] * len(names)


def test_folders_below_the_class_are_groups(tmp_path):
    folder(tmp_path, *(f"patient{n // 2}/{n}.jpg" for n in range(12)))
    source = recognise(tmp_path)
    assert sizes(source) == [2] * 6 and "6 folders below the classes are the groups" in notes(source)
    assert sizes(recognise(tmp_path, group_pattern=r"(patient\d+)")) == [2] * 6
    assert sizes(recognise(tmp_path, group_pattern=r"patient(\d)/")) == [2] * 6


@pytest.mark.parametrize(
    "path",
    ["healthy/left/p{n}/1.jpg ulcer/right/p{n}/1.jpg", "healthy/{n}.jpg healthy/{n}{n}.jpg ulcer/p{n}/1.jpg"],
)
def test_folders_that_may_be_patients_are_not_passed_over(tmp_path, path):
    touch(tmp_path, *(one.format(n=n) for one in path.split() for n in range(10, 20)))
    with pytest.raises(DataError, match="no file name tells a patient, and some photographs lie in") as error:
        recognise(tmp_path)
    (pattern,) = re.findall("'([^']+)' makes each folder", str(error.value))
    groups = {record.group for record in recognise(tmp_path, group_pattern=pattern).records}
    assert groups >= {f"p{n}" for n in range(10, 20)} and len(groups) == (10 if "left" in path else 30)


def test_patients_and_classes_called_like_masks_with_a_number(tmp_path):
    touch(tmp_path, *(f"label_{n % 2}/GT{n:02}/1.jpg" for n in range(8)))
    source = recognise(tmp_path, positive="label_1")
    assert sizes(source) == [1] * 8 and "masks" not in notes(source)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "healthy/a.jpg", "ulcer/b.jpg", "test/healthy/c.jpg", "lost+found/d.jpg")

    def walk(folder, onerror):
        if "test" in str(folder.relative_to(tmp_path)) or "lost" in str(folder.relative_to(tmp_path)):
            onerror(PermissionError(13, "Permission denied", str(folder)))
        return real(folder, onerror=onerror)

    real = os.walk
    monkeypatch.setattr(image_files.os, "walk", walk)
    with pytest.raises(PermissionError, match="test"):
        image_files.folders_with_images(tmp_path, tmp_path)


def test_photographs_in_no_folder_belong_to_the_patient_of_their_name(tmp_path):
    """README's own example: ulcer/p07_1.jpg beside healthy/p07/2.jpg."""
    touch(tmp_path, *(f"healthy/p{n}/{m}.jpg" for n in range(24) for m in range(2)))
    touch(tmp_path, *(f"ulcer/p{n}_1.jpg" for n in range(24)))
    source = recognise(tmp_path)
    assert Counter(record.group for record in source.records) == {f"p{n}": 3 for n in range(24)}
    assert "The 24 folders below the classes are the groups" in notes(source)
    assert "WARNING: 24 photographs lie in no folder, 'p0_1.jpg' for one" in notes(source)


@pytest.mark.parametrize("names", [("wound", "infected_wound"), ("ulcer", "ulcer infected"), ("dfu", "DFU-infection")])
def test_of_two_classes_that_may_both_be_positive_neither_is_guessed(tmp_path, names):
    touch(tmp_path, *(f"{name}/x.png" for name in names))
    with pytest.raises(DataError, match=r"which of .* is the positive class"):
        recognise(tmp_path)
    assert recognise(tmp_path, positive=names[1]).class_names == names


@pytest.mark.parametrize("negative", ["not_infected", "uninfected", "no infection"])
def test_a_class_that_says_no_is_the_negative_one(tmp_path, negative):
    touch(tmp_path, f"{negative}/x.png", "infected/y.png")
    assert recognise(tmp_path).class_names == (negative, "infected")


def test_a_class_is_found_however_its_accent_is_written(tmp_path):
    touch(tmp_path, "gesund/x.png", "Geschwu\u0308r/y.png")  # as macOS writes it
    assert recognise(tmp_path, positive="Geschw\u00fcr").class_names == ("gesund", "Geschwu\u0308r")


def test_what_was_taken_for_a_patient_is_said(tmp_path):
    source = recognise(folder(tmp_path, *(f"p{n // 2}_{n}.jpg" for n in range(12))))
    assert sizes(source) == [2] * 6 and "6 texts before the first underscore" in notes(source)


def test_a_patient_may_be_called_like_a_side_with_a_number(tmp_path):
    folder(tmp_path, *(f"test{n // 2:02}/{n}.jpg" for n in range(12)))
    source = recognise(tmp_path)
    assert sizes(source) == [2] * 6 and {r.side for r in source.records} == {None}
    dated = recognise(folder(tmp_path / "coco", "val2017/1.jpg", "val2017/2.jpg"))
    assert {r.side for r in dated.records} == {"validation"}


def test_a_pattern_for_names_holds_in_folders(tmp_path):
    """2020/p1 and 2021/p1 are one patient, whatever the folders are."""
    folder(tmp_path, *(f"{year}/p{n}_a.jpg" for n in range(4) for year in (2020, 2021)))
    assert sizes(recognise(tmp_path, group_pattern="([^_]+)_")) == [2] * 4
    assert sizes(recognise(tmp_path, group_pattern=r"(p\d)")) == [2] * 4
    assert sizes(recognise(tmp_path, group_pattern=r"(\d+)/")) == [4] * 2
