"""Photographs -> prepared file -> tensors."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from data_utils.dataset import load_dataset
from data_utils.decode import decode
from data_utils.duplicates.pairs import num_leaked_test
from data_utils.errors import DataError
from data_utils.phantoms import render_phantoms
from data_utils.prepare import prepare


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """30 lesions, 2 views each, in a folder per class; names and EXIF carry a secret."""
    root = tmp_path_factory.mktemp("photographs")
    exif = Image.Exif()
    exif[0x010F] = "secret-camera"
    for number, (pixels, label, group) in enumerate(render_phantoms(num_lesions=60, views=2, size=24)):
        folder = root / ("infected" if label else "clean")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"secret{group.split()[1]}_{number}.png", exif=exif)
    return root


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    return prepare(photographs, tmp_path_factory.mktemp("out"), image_size=16)


def test_round_trip(prepared, photographs):
    dataset = load_dataset(prepared.path, 16)
    assert dataset.images.shape == (120, 3, 16, 16) and dataset.images.dtype == torch.uint8
    assert dataset.labels.sum() == 60 and dataset.class_names == ("clean", "infected")
    sides = [dataset.side(name) for name in ("train", "validation", "test")]
    assert [len(side.labels) for side in sides] == [
        sum(prepared.counts[n]) for n in ("train", "validation", "test")
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not set(sides[a].groups) & set(sides[b].groups)
    assert len(set(dataset.image_ids)) == 120
    path = next((photographs / "infected").iterdir())
    expected = np.asarray(Image.open(path).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))
    found = (dataset.images.permute(0, 2, 3, 1).numpy() == expected).all((1, 2, 3))
    assert found.sum() == 1 and dataset.labels[found.argmax()] == 1


def test_smaller_and_larger_sizes(prepared):
    small, full = load_dataset(prepared.path, 8), load_dataset(prepared.path, 16)
    assert small.images.shape[2:] == (8, 8)
    blocks = full.images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert (small.images.float() - blocks).abs().mean() < 6
    with pytest.raises(DataError, match="prepare it again at 32 px"):
        load_dataset(prepared.path, 32)


def test_fingerprint_follows_content_only(prepared, photographs, tmp_path):
    """Other names, another order, another salt: the same fingerprint."""
    for number, path in enumerate(sorted(photographs.rglob("*.png"), reverse=True)):
        lesion = path.name.split("_")[0].removeprefix("secret")
        copy = tmp_path / "data" / path.parent.name / f"patient{lesion}_{number:03}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    again = prepare(tmp_path / "data", tmp_path / "out", image_size=16)
    assert again.fingerprint == prepared.fingerprint
    ours, theirs = pq.read_table(prepared.path), pq.read_table(again.path)
    assert ours["content_hash"] == theirs["content_hash"] and ours["split"] == theirs["split"]
    assert not set(ours["image_id"].to_pylist()) & set(theirs["image_id"].to_pylist())
    assert not set(ours["group"].to_pylist()) & set(theirs["group"].to_pylist())


@pytest.mark.parametrize("change", [{"image_size": 12}, {"split_protocol": "random"}, {"split_seed": 1}])
def test_fingerprint_follows_settings(prepared, photographs, tmp_path, change):
    other = prepare(photographs, tmp_path, **{"image_size": 16, **change})
    assert other.fingerprint != prepared.fingerprint
    assert ("RANDOM" in other.describe()) == ("split_protocol" in change)


def test_ids_of_files(prepared):
    names, ids = zip(*prepared.files, strict=True)
    assert set(ids) == set(load_dataset(prepared.path, prepared.image_size).image_ids)
    assert len(set(ids)) == len(ids) and all("secret" in name for name in names)


def test_private_names_stay_out(prepared, photographs):
    content = prepared.path.read_bytes()
    assert b"secret" not in content and str(photographs).encode() not in content
    images = pq.read_table(prepared.path)["image"].to_pylist()
    assert not any(b"secret" in image or b"eXIf" in image for image in images)
    assert (prepared.path.parent / "salt").stat().st_mode & 0o777 == 0o600


def test_reused_and_mended(prepared, photographs, tmp_path):
    first = prepare(photographs, tmp_path, image_size=16)
    written = first.path.stat().st_mtime_ns
    assert prepare(photographs, tmp_path, image_size=16).path.stat().st_mtime_ns == written
    first.path.write_bytes(first.path.read_bytes()[:5000])
    with pytest.warns(UserWarning, match="is damaged and was set aside"):
        assert len(load_dataset(prepare(photographs, tmp_path, image_size=16).path, 16).labels) == 120
    names = [first.path.name, f"{first.path.name}.damaged", "salt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_flipped_bits_never_pass(prepared, tmp_path):
    whole, rng = prepared.path.read_bytes(), np.random.default_rng(0)
    expected, path = load_dataset(prepared.path, 16), tmp_path / "damaged.parquet"
    refused = 0
    for position in rng.integers(len(whole), size=150):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            dataset = load_dataset(path, 16)
        except DataError as error:
            assert "damaged.parquet" in str(error)
            refused += 1
        else:
            assert torch.equal(dataset.images, expected.images) and torch.equal(
                dataset.labels, expected.labels
            )
            assert (dataset.split == expected.split).all() and dataset.fingerprint == expected.fingerprint
    assert refused > 100
    with pytest.raises(DataError, match="no prepared file"):
        load_dataset(tmp_path / "missing.parquet", 16)


def test_bad_files_are_listed_or_skipped(photographs, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    (data / "clean/secret1_text.jpg").write_text("not a photograph", encoding="utf-8")
    (data / "infected/secret2_empty.jpg").touch()
    with pytest.raises(DataError) as error:
        prepare(data, tmp_path / "out", image_size=16)
    for part in (
        "2 file(s)",
        "--skip-bad",
        "clean/secret1_text.jpg: not an image",
        "secret2_empty.jpg: empty file",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()
    skipped = prepare(data, tmp_path / "out", image_size=16, skip_bad=True)
    assert skipped.num_skipped == 2
    assert "2 bad files skipped" in skipped.describe()


def test_too_few_images_of_a_class(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "data")
    for path in sorted((tmp_path / "data/infected").iterdir())[19:]:
        path.unlink()
    with pytest.raises(DataError, match="19 positive images; at least 20"):
        prepare(tmp_path / "data", tmp_path / "out", image_size=16)


def test_nothing_left_after_skipping(tmp_path):
    for name in ("infected/a_1.png", "clean/b_1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="0 negative and 0 positive"):
        prepare(tmp_path, tmp_path / "out", image_size=16, skip_bad=True)


def test_copies_across_groups_share_a_side(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "data")
    for number, path in enumerate(sorted((tmp_path / "data/clean").iterdir())[:20]):
        mirrored = Image.open(path).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(path.with_name(f"copy{number}_0.png"))
    with_copies = prepare(tmp_path / "data", tmp_path / "out", image_size=16)
    without = prepare(photographs, tmp_path / "out", image_size=16)
    assert with_copies.num_groups == without.num_groups
    assert with_copies.num_near_duplicates >= without.num_near_duplicates + 20


COPIES = ("copied.png", "mirrored.png", "recompressed.jpg")


@pytest.fixture(scope="module")
def with_copies(photographs, tmp_path_factory) -> tuple[Path, list[tuple[str, str, str]]]:
    """A folder with a copy, a mirrored and a re-compressed copy of three wounds, and the (path, label, group) of these
    three originals."""
    root = tmp_path_factory.mktemp("copies")
    shutil.copytree(photographs, root, dirs_exist_ok=True)
    names = sorted(str(path.relative_to(photographs)) for path in photographs.rglob("*.png"))
    rows = [(name, name.split("/")[0], name.split("/")[1].split("_")[0]) for name in names]
    originals = rows[::40]
    images = [Image.open(root / name).convert("RGB") for name, _, _ in originals]
    images[0].save(root / COPIES[0])
    images[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / COPIES[1])
    images[2].save(root / COPIES[2], quality=60)
    right = [(copy, label, group) for copy, (_, label, group) in zip(COPIES, originals, strict=True)]
    wrong = [(copy, label, f"another {copy}") for copy, label, _ in right]
    for manifest, copies in (("right.csv", right), ("wrong.csv", wrong)):
        lines = map(",".join, [("path", "label", "group"), *rows, *copies])
        (root / manifest).write_text("\n".join(lines), encoding="utf-8")
    return root, originals


def test_planted_leaks_are_flagged_by_name(with_copies, tmp_path):
    root, originals = with_copies
    prepared = prepare(root / "wrong.csv", tmp_path, image_size=16)
    said = " ".join(prepared.describe().split())
    for copy, (original, _, _) in zip(COPIES, originals, strict=True):
        a, b = sorted((original, copy))
        assert (a, b) in prepared.leaks
        assert f"leak {a} and {b} look the same but have different groups; merged" in said
    assert f"{prepared.num_near_duplicates} near-duplicate pairs" in said
    assert prepared.num_leaked_test == 0 and "0 of 19 test images have their group or a near-copy in training" in said
    assert not any(copy.encode() in prepared.path.read_bytes() for copy in COPIES)  # names are for the console only


def test_copies_in_the_right_group_are_no_leak(with_copies, tmp_path):
    prepared = prepare(with_copies[0] / "right.csv", tmp_path, image_size=16)
    assert not set(COPIES) & {name for pair in prepared.leaks for name in pair}


def test_a_long_list_of_leaks_is_cut(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "data")
    for number, path in enumerate(sorted((tmp_path / "data/clean").iterdir())[:20]):
        shutil.copy(path, path.with_name(f"copy{number}_0.png"))
    prepared = prepare(tmp_path / "data", tmp_path / "out", image_size=16)
    assert len(prepared.leaks) == prepared.num_near_duplicates >= 20
    assert prepared.describe().count("look the same") == 5


def test_names_with_terminal_codes_are_escaped_in_leaks(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "data")
    path = next((tmp_path / "data/clean").iterdir())
    shutil.copy(path, path.with_name("a\x1b[31mcopy_0.png"))
    said = prepare(tmp_path / "data", tmp_path / "out", image_size=16).describe()
    assert "\x1b" not in said and r"a\x1b[31mcopy_0.png" in said


def test_a_random_split_leaks_and_says_how_much(photographs, prepared, tmp_path):
    random = prepare(photographs, tmp_path, image_size=16, split_protocol="random")
    assert 0 < random.num_leaked_test <= sum(random.counts["test"])
    assert f"{random.num_leaked_test} of 18 test images" in random.describe()
    for known in (prepared, random):
        dataset = load_dataset(known.path, 16)
        assert num_leaked_test(dataset.split, dataset.groups) == known.num_leaked_test
    assert prepared.num_leaked_test == 0


def test_leaked_test_images_are_counted_one_by_one():
    split = np.array(["train", "train", "validation", "test", "test", "test"], dtype=object)
    groups = np.array(["a", "b", "c", "a", "a", "c"], dtype=object)
    assert num_leaked_test(split, groups) == 2


def test_masks_of_another_size_are_bad_files(tmp_path):
    for folder, size in (("images", 64), ("masks", 32)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (size, size)).save(tmp_path / folder / "7.png")
    with pytest.raises(DataError, match=r"7\.png: .*mask"):
        prepare(tmp_path, tmp_path / "out", image_size=16)


def test_segmented_photographs(tmp_path):
    """Wounds pasted on skin, cut out again: both classes of a photograph lie on one side."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / "data/train" / name).mkdir(parents=True)
    for number in range(40):
        skin = np.array([200, 150, 125]) + rng.normal(0, 4, 3) + rng.normal(0, 6, (8, 8, 3))
        image = np.array(Image.fromarray(skin.clip(0, 255).astype(np.uint8)).resize((96, 96)))
        mask = np.zeros((96, 96), dtype=np.uint8)
        top, left = rng.integers(10, 60, 2)
        place = slice(top, top + 24), slice(left, left + 24)
        image[place], mask[place] = rng.integers(0, 256, (24, 24, 3)), 255
        Image.fromarray(image).save(tmp_path / f"data/train/images/{number}.png")
        Image.fromarray(mask).save(tmp_path / f"data/train/labels/{number}.png")
    prepared = prepare(tmp_path / "data", tmp_path / "out", image_size=16)
    positives = sum(counts[1] for counts in prepared.counts.values())
    assert positives == 40 and prepared.num_groups <= 40 and prepared.class_names == ("skin", "ulcer")


def test_terminal_codes_in_names_are_escaped(photographs, tmp_path):
    shutil.copytree(photographs / "clean", tmp_path / "data/cle\x1b[31man")
    shutil.copytree(photographs / "infected", tmp_path / "data/infected")
    assert "\x1b" not in prepare(tmp_path / "data", tmp_path / "out", image_size=16).describe()


def test_sample_data(tmp_path):
    sample = prepare(None, tmp_path, image_size=32)
    assert sample.is_sample and "sample data" in sample.describe()
    assert sample.num_groups >= 150  # lesions are not taken for copies of each other
    assert max(map(len, sample.describe().splitlines())) <= 80


def test_real_patches(real_patches, tmp_path):
    prepared = prepare(real_patches, tmp_path, image_size=64)
    assert np.sum(list(prepared.counts.values()), axis=0).tolist() == [1225, 905]
    assert 760 < prepared.num_groups < 806  # of 806 photographs some are copies
    dataset = load_dataset(prepared.path, 64)
    groups = {name: set(dataset.side(name).groups) for name in ("train", "validation", "test")}
    assert sum(map(len, groups.values())) == prepared.num_groups == len(set.union(*groups.values()))


# ---- photographs as people have them


def pattern(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


def folders(root, names):
    """Photographs by their names below the classes, by turns; equal ends of names are equal pictures."""
    for number, name in enumerate(names):
        path = root / ("healthy", "ulcer")[number % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pattern(number).save(path)
    return root


def test_equal_pictures_in_both_classes_stop_or_are_skipped(tmp_path):
    data = folders(tmp_path / "data", [f"p{n}_1.png" for n in range(80)])
    for number in range(1, 25, 2):
        shutil.copy(data / f"ulcer/p{number}_1.png", data / f"healthy/p{number}_1.png")
    with pytest.raises(DataError, match=r"12 picture\(s\) lie in both classes") as error:
        prepare(data, tmp_path / "out", image_size=32)
    assert "healthy/p11_1.png = ulcer/p11_1.png" in str(error.value) and "and 2 others" in str(error.value)
    skipped = prepare(data, tmp_path / "out", image_size=32, skip_bad=True)
    assert skipped.num_skipped == 24 and sum(map(sum, skipped.counts.values())) == 68


def test_pictures_that_look_alike_in_both_classes_are_named(tmp_path):
    data = folders(tmp_path / "data", [f"p{n}_1.png" for n in range(60)])
    Image.open(data / "ulcer/p1_1.png").transpose(Image.Transpose.ROTATE_90).save(data / "healthy/p1_2.png")
    said = " ".join(prepare(data, tmp_path / "out", image_size=32).describe().split())
    assert "WARNING: pictures that look the same have different labels: healthy/p1_2.png and ulcer/p1_1.png" in said


def test_given_sides_and_shares_are_told(tmp_path):
    data = folders(tmp_path / "data", [f"{('train', 'test', 'valid')[n // 2 % 3]}/a{n}.png" for n in range(90)])
    given = prepare(data, tmp_path / "out", image_size=32, split_protocol="given")
    assert given.counts == dict.fromkeys(("train", "validation", "test"), (15, 15))
    assert "33% : 33% : 33% of the images, as the data came" in given.describe()
    merged = prepare(data, tmp_path / "out", image_size=32)
    assert sum(merged.counts["train"]) == 62 and merged.fingerprint != given.fingerprint


def test_a_large_group_is_told_in_the_shares(tmp_path):
    data = folders(tmp_path / "data", [f"{'one' if n < 80 else n}_{n}.png" for n in range(130)])
    said = prepare(data, tmp_path / "out", image_size=32, group_pattern="([^_]+)_").describe()
    assert "WARNING      the sides are far from 70:15:15" in said and "70% : 15% : 15%" not in said


def test_long_lists_are_cut_and_progress_is_told(tmp_path):
    data = folders(tmp_path / "data", [f"a{n}.png" for n in range(60)])
    for number in range(0, 60, 2):
        (data / f"healthy/a{number}.png").write_bytes(b"x")
    told: list[tuple] = []
    with pytest.raises(DataError, match="30 of 30 photographs of 'healthy'") as error:
        prepare(data, tmp_path / "out", image_size=32, progress=lambda *counts: told.append(counts))
    assert str(error.value).count("\n") == 11 and str(error.value).endswith("and 20 others")
    assert told == [("photographs", done, 60) for done in range(1, 61)]


def test_progress_of_the_comparison_is_told(photographs, tmp_path, monkeypatch):
    for module in ("spectra", "registration"):
        monkeypatch.setattr(f"data_utils.duplicates.{module}.CHUNK", 50)
    told: list[tuple] = []
    prepare(photographs, tmp_path, image_size=16, progress=lambda *counts: told.append(counts))
    assert told[120:123] == [("compared", 50, 120), ("compared", 100, 120), ("compared", 120, 120)]
    pairs = told[123:]
    assert [done for _, done, _ in pairs] == [*range(50, pairs[-1][2], 50), pairs[-1][2]] and pairs[-1][0] == "pairs"


def test_links_into_a_cache_are_explained(tmp_path):
    cache = folders(tmp_path / "cache", [f"a{n}.png" for n in range(40)])
    for path in cache.rglob("*.png"):
        link = tmp_path / "data" / path.relative_to(cache)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    with pytest.raises(DataError, match=r"40 file\(s\) .*cp -rL FOLDER COPY"):
        prepare(tmp_path / "data", tmp_path / "out", image_size=32)


def test_a_decoder_s_warning_names_the_file(tmp_path, monkeypatch, recwarn):
    def warning(path, root, **_):
        if path.name == "a7.png":
            warnings.warn("Corrupt EXIF data", stacklevel=1)
        return decode(path, root)

    monkeypatch.setattr("data_utils.patches.decode", warning)
    data = folders(tmp_path / "data", [f"a{n}.png" for n in range(60)])
    notes = prepare(data, tmp_path / "out", image_size=32).notes
    assert "1 files were read, but are not quite in order: ulcer/a7.png (Corrupt EXIF data)" in notes
    assert not recwarn.list


def test_a_salt_that_another_process_is_writing_is_waited_for(tmp_path, monkeypatch):
    from data_utils.prepare import _read_salt, _salt

    monkeypatch.setattr("os.link", None)  # exFAT has no hard links
    salt = _salt(tmp_path)
    assert len(salt) == 32 and _salt(tmp_path) == salt
    (tmp_path / "salt").write_bytes(b"")
    with pytest.raises(DataError, match="does not hold 32 bytes"):
        _read_salt(tmp_path / "salt", patience=0.05)


def test_photographs_that_nearly_all_look_alike_are_refused_with_the_way_out(tmp_path):
    """As whole feet on a plain ground; with --copies equal, equal pictures still join."""
    rng = np.random.default_rng(0)
    foot, data = render_phantoms(num_lesions=1, views=1, size=64)[0][0].astype(float), tmp_path / "data"
    for number in range(60):
        label = ("clean", "infected")[number % 2]
        (data / label).mkdir(parents=True, exist_ok=True)
        pixels = (foot + rng.normal(0, 2, foot.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(data / label / f"p{number}_1.png")
        if number < 4:
            Image.fromarray(pixels).save(data / label / f"again{number}_1.png")
    arguments = {"data": data, "folder": tmp_path / "out", "image_size": 32}
    with pytest.raises(DataError, match=r"would join 64 of 64 photographs in one group\. .*--copies equal joins"):
        prepare(**arguments)
    equal = prepare(**arguments, copies="equal")
    assert (equal.num_near_duplicates, equal.num_groups) == (4, 60)
