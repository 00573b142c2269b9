"""Each public data set in the shape in which its publishers hand it out, with tiny files."""

import pytest

from data_utils.errors import DataError
from data_utils.layouts import recognise
from tests.support.layouts import touch

DFUC_2021 = "image,none,infection,ischaemia,both\n1.jpg,1,0,0,0\n2.jpg,0,1,0,0\n3.jpg,0,0,0,1\n"
DFUC_2020 = "filename,xmin,ymin,xmax,ymax\n1.jpg,1,2,3,4\n"
AZH_CLASSES = ("BG", "D", "N", "P", "S", "V")
CASES = {
    # files, what is given as --data, flags, class names, labels in the order of the paths
    "DFU Part B, licensed": (
        ("DFU/Part B/Infection/Aug-Negative/1_1X_M.jpg", "DFU/Part B/Infection/Aug-Positive/2_1X.jpg",
         "DFU/Part B/Ischaemia/Aug-Negative/1_1X.jpg", "DFU/Part B/Ischaemia/Aug-Positive/2_2X.jpg"),
        "", {}, ("Aug-Negative", "Aug-Positive"), [0, 1],
    ),
    "DFUC 2021": (
        ("images/1.jpg", "images/2.jpg", "images/3.jpg"), "images/train.csv",
        {"positive": "infection,both", "negative": "none"}, ("none", "infection+both"), [0, 1, 1],
    ),
    "DFUC 2022": (
        ("DFUC2022_train_images/1.jpg", "DFUC2022_train_masks/1.png", "DFUC2022_val_images/2.jpg"),
        "", {}, ("skin", "ulcer"), [None],
    ),
    "Kaggle DFU": (
        ("DFU/Original Images/1.jpg", "DFU/TestSet/2.jpg", "DFU/Patches/Abnormal(Ulcer)/3.jpg",
         "DFU/Patches/Normal(Healthy skin)/4.jpg"),
        "DFU/Patches", {}, ("Normal(Healthy skin)", "Abnormal(Ulcer)"), [1, 0],
    ),
    "AZH": (
        tuple(f"AZH/{side}/{label}/{side}{label}.jpg" for side in ("Train", "Test") for label in AZH_CLASSES),
        "", {"positive": "D", "negative": "V"}, ("V", "D"), [1, 0, 1, 0],
    ),
    "AZH, segmentation": (
        tuple(f"{side}/{kind}/{side}.png" for side in ("train", "test") for kind in ("images", "labels")),
        "", {}, ("skin", "ulcer"), [None, None],
    ),
    "Medetec": (
        ("foot_ulcer/foot-ulcer-0001.jpg", "leg_ulcer/leg-ulcer-0001.jpg", "pressure_ulcer/pressure-ulcer-0001.jpg"),
        "", {"positive": "foot_ulcer", "negative": "leg_ulcer"}, ("leg_ulcer", "foot_ulcer"), [1, 0],
    ),
    "FUSeg": (
        ("train/images/0001.png", "train/labels/0001.png", "validation/images/0002.png", "validation/labels/0002.png",
         "test/images/0003.png"),
        "", {}, ("skin", "ulcer"), [None, None],
    ),
    "Roboflow": (
        tuple(f"{side}/{label}/{label}-{side}_jpg.rf.0a1b.jpg" for side in ("train", "valid", "test")
              for label in ("healthy", "ulcer")),
        "", {}, ("healthy", "ulcer"), [0, 1, 0, 1, 0, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_public_set_is_recognised(tmp_path, name):
    files, given, flags, class_names, labels = CASES[name]
    touch(tmp_path, *files)
    if given.endswith(".csv"):
        (tmp_path / given).write_text(DFUC_2021, encoding="utf-8")
    source = recognise(tmp_path / given, **flags)
    assert source.class_names == class_names
    assert [r.label for r in sorted(source.records, key=lambda record: record.path)] == labels


def test_boxes_are_no_classes(tmp_path):
    """DFUC 2020 and Roboflow's export for detection."""
    (tmp_path / "groundtruth.csv").write_text(DFUC_2020, encoding="utf-8")
    with pytest.raises(DataError, match="boxes"):
        recognise(tmp_path / "groundtruth.csv")
    touch(tmp_path, "train/1.jpg")
    with pytest.raises(DataError, match=r"0 class\(es\).*groundtruth\.csv"):
        recognise(tmp_path)


def test_groups_of_published_names(tmp_path):
    for name in ("DFU Part B, licensed", "Roboflow"):
        touch(tmp_path / name, *CASES[name][0])
    assert {r.group for r in recognise(tmp_path / "DFU Part B, licensed").records} == {"1", "2"}
    assert len({r.group for r in recognise(tmp_path / "Roboflow").records}) == 6
