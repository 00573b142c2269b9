"""The first half hour with photographs as people have them: what the command says leads to a study."""

import re
import shlex

import pytest

from tests.support.command import photograph


def photographs(root, names):
    """A photograph for each name; no two look alike."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(number).save(root / name)
    return root


def advised(message: str, *flags: str) -> list[str]:
    """The first value that a message gives each of the flags, as a shell would read it."""
    found = [re.search(rf"{flag} (?:'[^']*'|\S+)", message)[0] for flag in flags]
    words = shlex.split(" ".join(found))
    assert len(words) == 2 * len(flags), message
    return words


@pytest.fixture
def dry_run(command, monkeypatch):
    """What a dry run says of the photographs, which it accepts."""
    monkeypatch.setattr("study.commands.sweep.describe_plan", lambda *arguments: "")

    def run(*arguments) -> str:
        code, said, message = command(*arguments, "--preset", "smoke", "--trials", "1", "--dry-run")
        assert code == 0, message
        return " ".join(said.split())

    return run


def test_three_kinds_of_wounds(command, dry_run, tmp_path):
    kinds = ("foot_ulcer", "leg_ulcer", "pressure_ulcer")
    names = [f"{kind}/wound-{kind[:3]}-{n:04}.png" for kind in kinds for n in range(24)]
    data = photographs(tmp_path / "wounds", names)
    message = command.refused("--data", data)
    assert "3 class(es)" in message and "'pressure_ulcer'" in message
    said = dry_run("--data", data, *advised(message, "--positive", "--negative"))
    assert "classes 1 = foot_ulcer (positive), 0 = leg_ulcer (negative) images 48 in 48 groups" in said
    assert "'pressure_ulcer' are in neither of the two" in said and "each name counts as a group of its own" in said


def test_an_export_of_roboflow(command, dry_run, tmp_path):
    """Three copies of each photograph, on one side each."""
    sides = ("train", "train", "train", "valid", "test")
    data = photographs(
        tmp_path / "export",
        [
            f"{sides[n % 5]}/{kind}/{kind}-{n:04}_jpg.rf.{n}{copy}c0ffee.png"
            for kind in ("foot", "leg") for n in range(25) for copy in range(3)
        ],
    )  # fmt: skip
    message = command.refused("--data", data)
    assert "which of 'foot', 'leg'" in message
    answer = advised(message, "--positive")
    said = dry_run("--data", data, *answer)
    assert "images 150 in 50 groups" in said and "--split given takes these sides" in said
    given = dry_run("--data", data, *answer, "--split", "given")
    assert "train 90 images" in given and "test 30 images" in given and "leakage 0 of 30" in given


@pytest.mark.parametrize("copies", ["", "_jpg.rf.{}c0ffee"])
def test_names_of_a_phone(command, dry_run, tmp_path, copies):
    names = [
        f"{kind}/IMG_202301{n:02}_1530{n:02}{number}{copies.format(copy)}.png"
        for number, kind in enumerate(("healthy", "ulcer")) for n in range(25) for copy in range(2 if copies else 1)
    ]  # fmt: skip
    data = photographs(tmp_path / "phone", names)
    message = command.refused("--data", data)
    assert "are a camera's" in message and "tell no patient" in message
    said = dry_run("--data", data, *advised(message.rpartition("one patient")[2], "--group-pattern"))
    assert f"images {len(names)} in 50 groups" in said
