"""Subgroups from a user's file: what is read, and errors that name line and column."""

import pytest

from results.tables.schema import ATTRIBUTES
from results.tables.store import read_table, write_rows
from study.errors import ConfigError
from study.gan_audit.subgroups import read_subgroups


def subgroups(tmp_path, text):
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode())
    return path


def test_a_users_file_is_read(phantoms, tmp_path):
    first, second = phantoms.image_ids[:2]
    path = subgroups(
        tmp_path, f"\ufeffattribute,image_id,note\r\nheel,{first},\r\nleft,{first},\r\nheel ,{second},x\r\n"
    )
    write_rows(tmp_path / "attributes" / "file.parquet", read_subgroups(path, phantoms, "study"), ATTRIBUTES)
    rows = read_table(tmp_path, "attributes")
    assert rows[["image_id", "attribute"]].to_numpy().tolist() == [[first, "heel"], [first, "left"], [second, "heel"]]
    assert rows["side"].tolist() == [phantoms.split[0], phantoms.split[0], phantoms.split[1]]
    assert set(rows["source"]) == {"file"} and set(rows["kind"]) == {"real"} and rows["value"].isna().all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,attribute\na,b\n", "groups.csv lacks the column image_id"),
        ("", "lacks the column image_id and attribute"),
        ("image_id,attribute\n", "no line below its heading"),
        ("image_id,attribute\n{id},\n", "line 2: attribute is empty"),
        ("image_id,attribute\n{id},heel\n,heel\n", "line 3: image_id is empty"),
        ("image_id,attribute\n{id}\n", "line 2: attribute is empty"),
        ("image_id,attribute\n{id},heel\n\n{id},heel\n", "line 4: repeats line 2"),
        ("image_id,attribute\na,x\nb,x\n{id},x\n", "2 of 3 image ids are not .* such as a, b; .*--image-ids"),
        ('image_id,attribute\n"a,x\n', "cannot be read as a CSV file"),
    ],
)
def test_a_wrong_file_is_refused(phantoms, tmp_path, text, message):
    path = subgroups(tmp_path, text.replace("{id}", phantoms.image_ids[0]))
    with pytest.raises(ConfigError, match=message):
        read_subgroups(path, phantoms, "study")


def test_a_missing_file_is_refused(phantoms, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.csv cannot be read"):
        read_subgroups(tmp_path / "nothing.csv", phantoms, "study")
