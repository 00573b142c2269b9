"""Lists of photographs: separators, encodings, other names of columns, one column a class; and what is wrong."""

import pytest

from data_utils.errors import DataError
from data_utils.layouts import recognise
from tests.support.layouts import touch


def manifest(tmp_path, text, *files, name="list.csv"):
    touch(tmp_path, *(files or ("a.png", "sub/b.png", "c.png")))
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / name


TEXT = "path,label,group\na.png,infected,p1\nsub/b.png,clean,\nc.png,clean,p1\n"


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace("\n", "\r\n"),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace("path,label,group", "Image Name,Diagnosis,Patient ID"),
        TEXT.replace("path,label,group", "filename,class,case"),
        TEXT.replace("sub/b.png", "sub\\b.png"),
        TEXT.replace(".png", ""),
    ],
    ids=["plain", "semicolon", "tab", "crlf", "bom", "utf16", "names1", "names2", "windows", "suffixless"],
)
def test_a_list_is_read(tmp_path, text):
    source = recognise(manifest(tmp_path, text))
    assert source.class_names == ("clean", "infected") and source.root == tmp_path
    assert [r.label for r in source.records] == [1, 0, 0]
    assert [str(r.path.relative_to(tmp_path)) for r in source.records] == ["a.png", "sub/b.png", "c.png"]
    groups = [r.group for r in source.records]
    assert groups[0] == groups[2] == "p1" != groups[1]


def test_one_column_a_class(tmp_path):
    """The list of DFUC 2021."""
    header = "image,none,infection,ischaemia,both"
    rows = [header, "a.png,1,0,0,0", "sub/b.png,0,1.0,0,0", "c.png,0,0,0,1", "d.png,0,0,1,0"]
    path = manifest(tmp_path, "\n".join(rows), "a.png", "sub/b.png", "c.png", "d.png")
    with pytest.raises(DataError, match=r"4 class\(es\).*--positive infection --negative both"):
        recognise(path)
    source = recognise(path, positive="infection,both", negative="none,ischaemia")
    assert [r.label for r in source.records] == [0, 1, 1, 0]
    source = recognise(path, positive="infection", negative="none")
    assert [r.label for r in source.records] == [0, 1] and "were left out" in source.notes[0]
    rows[2] = "sub/b.png,0,1,0,1"
    with pytest.raises(DataError, match=r"1 of 4 lines do not have 1 in exactly one of the columns .*, line 3 for one"):
        recognise(manifest(tmp_path, "\n".join(rows)))


def test_without_a_column_of_groups_names_tell_them(tmp_path):
    text = "file,label\nu/p1_a.png,ulcer\nu/p1_b.png,ulcer\nh/p2_a.png,healthy\n"
    path = manifest(tmp_path, text, "u/p1_a.png", "u/p1_b.png", "h/p2_a.png")
    assert [r.group for r in recognise(path).records] == ["p1", "p1", "p2"]
    assert [r.group for r in recognise(path, group_pattern=r"(\w)/").records] == ["u", "u", "h"]


@pytest.mark.parametrize("written", ["photos/{}", "{root}/photos/{}", "../{name}/photos/{}"])
def test_patients_are_the_same_however_the_paths_are_written(tmp_path, monkeypatch, written):
    """Absolute, relative, and below a folder of all photographs; and however the list itself is named."""
    names = [f"p{n}/{view}.png" for n in range(4) for view in range(2)]
    lines = [written.format(name, root=tmp_path, name=tmp_path.name) for name in names]
    text = "path,label\n" + "".join(f"{line},{'ulcer' if n % 4 < 2 else 'healthy'}\n" for n, line in enumerate(lines))
    path = manifest(tmp_path, text, *(f"photos/{name}" for name in names))
    monkeypatch.chdir(tmp_path)
    for typed in (path, path.relative_to(tmp_path), tmp_path / "photos" / ".." / path.name):
        assert [r.group for r in recognise(typed).records] == [name[:2] for name in names]


@pytest.mark.parametrize("name", ["Patient No.", "participant_id", "person"])
def test_other_names_of_the_column_of_patients(tmp_path, name):
    groups = [record.group for record in recognise(manifest(tmp_path, TEXT.replace("group", name))).records]
    assert groups[0] == groups[2] == "p1" != groups[1]


def test_a_column_that_may_tell_the_patient_is_not_passed_over(tmp_path):
    with pytest.raises(DataError, match="does the column 'pseudonym of patient' tell the patient"):
        recognise(manifest(tmp_path, TEXT.replace("group", "pseudonym of patient")))
    assert recognise(manifest(tmp_path, TEXT.replace("group", "patient_age"))).records


@pytest.mark.parametrize("name", ["MRN", "pat_id", "lesion id"])
def test_photographs_of_one_patient_in_several_groups_are_refused(tmp_path, name):
    with pytest.raises(DataError, match=f"does the column {name!r} tell the patient"):
        recognise(manifest(tmp_path, TEXT.replace("group", name)))
    text = TEXT.replace("group\n", f"wound,{name}\n").replace("p1\n", "w1,7\n", 1).replace("p1\n", "w2,7\n")
    text = text.replace("clean,\n", "clean,w3,8\n")
    with pytest.raises(DataError, match=f"one {name!r}, '7' for one, are in several groups of the column 'wound'"):
        recognise(manifest(tmp_path, text))
    assert len(recognise(manifest(tmp_path, text.replace("w2,7", "w2,9"))).records) == 3


def test_names_that_a_mac_or_a_camera_writes_otherwise(tmp_path):
    text = "path,label\nf\u00fc\u00df.1,clean\nIMG1,infected\n"
    source = recognise(manifest(tmp_path, text, "fu\u0308\u00df.1.jpg", "img1.JPG"), group_pattern="(.)")
    assert [record.path.is_file() for record in source.records] == [True, True]


def test_photographs_outside_of_the_manifests_folder_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "lists").mkdir()
    text = TEXT.replace("sub/b.png", "../sub/b.png").replace("a.png", "../a.png")
    path = manifest(tmp_path, text, name="lists/l.csv")
    touch(tmp_path, "lists/c.png")
    with pytest.raises(DataError, match=f"2 of 3 photographs lie outside of .*put the manifest into {tmp_path}, with"):
        recognise(path)


def test_a_column_of_sides(tmp_path):
    sides = TEXT.replace("group\n", "group,split\n").replace("p1\n", "p1,train\n").replace("clean,\n", "clean,,test\n")
    assert [r.side for r in recognise(manifest(tmp_path, sides)).records] == ["train", "test", "train"]
    folds = sides.replace("train", "1").replace("test", "2")
    assert [r.side for r in recognise(manifest(tmp_path, folds)).records] == [None] * 3


def test_a_column_of_sides_is_told_and_may_have_gaps(tmp_path):
    sides = TEXT.replace("group\n", "group,split\n").replace("p1\n", "p1,train\n").replace("clean,\n", "clean,,\n")
    source = recognise(manifest(tmp_path, sides))
    assert [record.side for record in source.records] == ["train", None, "train"]
    assert "come divided into train: --split given" in source.notes[-1]


def test_a_line_given_twice(tmp_path):
    source = recognise(manifest(tmp_path, TEXT + "a.png,infected,p1\n"))
    assert len(source.records) == 3 and "1 lines of list.csv repeat another" in source.notes[-1]
    with pytest.raises(DataError, match=r"lines 2 and 5 say different things of 'a.png'"):
        recognise(manifest(tmp_path, TEXT + "./a.png,clean,p1\n"))
    sides = TEXT.replace("group\n", "group,split\n").replace("p1\n", "p1,train\n").replace("clean,\n", "clean,,test\n")
    with pytest.raises(DataError, match=r"'infected', 'p1', 'train' and 'infected', 'p1', 'test'"):
        recognise(manifest(tmp_path, sides + "a.png,infected,p1,test\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "has no column path, but 'a', 'b'"),
        ("path,note\na,b\n", "has no column label"),
        ("filename,xmin,ymin,xmax,ymax\na,1,2,3,4\n", "boxes, which say where"),
        ("path,label,group,path\na,x,1,b\n", "several columns 'path'"),
        ("path,label,group\na,x,1\nb,y\n", "line 3 has 2 cells, but the first line names 3"),
        ("path,label,group\na,x,1,2\nb,y,1,2\n", "line 2 has 4 cells, but the first line names 3"),
        ('path,label,group\n"a,x,1\n', "cannot be read as CSV"),
        (b"path,label,group\n\xff,x,1\n", "cannot be read as CSV.*utf-8.*save it as CSV in UTF-8"),
        ("path,label,group\na.png,x,1\n", "1 class"),
        ("path,label,group\nx.png,x,1\ny.png,y,1\n", "2 of 2 files .* are not there: 'x.png', 'y.png'; paths"),
        ("path,label,group\nold/b.png,x,1\ny.png,y,1\n", "'b.png' lies in .*sub: write the paths as"),
        ("path,label,group\nC:\\x\\b.png,x,1\nC:\\y.png,y,1\n", "another machine, .*Windows.*lies in .*sub"),
    ],
)
def test_bad_manifest(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        recognise(manifest(tmp_path, text))


def test_a_long_list_of_missing_files_is_cut(tmp_path):
    rows = [f"{n}.jpg,{'xy'[n % 2]},{n}" for n in range(500)]
    with pytest.raises(DataError, match=r"'9\.jpg' and 490 others") as error:
        recognise(manifest(tmp_path, "\n".join(["path,label,group", *rows])))
    assert len(str(error.value)) < 500


def test_a_pattern_beside_a_column_of_groups(tmp_path):
    with pytest.raises(DataError, match=r"--group-pattern has no use with .*: its column 'group' says it"):
        recognise(manifest(tmp_path, TEXT), group_pattern="(a)")
