"""What a class is called goes through the terminal, the tables and the page, and steers none of them."""

import csv
import os
from html.parser import HTMLParser

import pytest

from results import leaderboard, report
from results.tables.schema import TRIALS
from results.tables.store import read_trials, write_rows
from study import reproduce
from study.flags.cli import print_error
from study.progress.display import Display

HOSTILE = [
    "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "\x1b[31mred\x1b]0;title\x07",
    "line\nbreak", "right\u202eleft", "\x9b2J",
]  # fmt: skip


def is_harmless(text: str) -> bool:
    """No terminal does anything but show it."""
    return all(letter.isprintable() or letter == "\n" for letter in text)


class Tags(HTMLParser):
    """The names of a page's tags and of their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.found: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found |= {tag, *(name for name, _ in attributes)}

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def manifest(photographs):
    """Labels of a manifest may hold what no folder's name can: slashes."""

    def write(label: str):
        paths = sorted(photographs.rglob("*.png"))
        rows = [(path.relative_to(photographs), path.parent.name, path.stem) for path in paths]
        with open(photographs / "list.csv", "w", newline="", encoding="utf-8") as file:
            renamed = [(path, label if name == "clean" else name, group) for path, name, group in rows]
            csv.writer(file).writerows([("path", "label", "group"), *renamed])
        return photographs / "list.csv"

    return write


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_class_is_shown_as_it_is_called(command, small_machine, manifest, label):
    code, printed, _ = command("--data", manifest(label), "--trials", "1")
    assert code == 0 and is_harmless(printed) and leaderboard.printable(label) in printed
    assert set(read_trials(command.studies()[0].parent)["negative_class"]) == {label}  # in a table it is a value


def test_hostile_names_and_reasons_reach_terminal_and_page_as_text(command, small_machine, manifest, capsys):
    assert command("--data", manifest(HOSTILE[0]), "--trials", "1")[0] == 0
    (study,) = [file.parent for file in command.studies()]
    row = {name: None if value != value else value for name, value in read_trials(study).iloc[0].to_dict().items()}
    for number, name in enumerate(HOSTILE):
        trial = {"trial_id": f"search-00{number}", "status": "failed", "reason": f"oh {name}", "backbone": name}
        write_rows(study / "trials" / f"search-00{number}.parquet", [row | trial], TRIALS)
    for show in (leaderboard.main, report.main):
        assert show([str(study)]) == 0
        shown = "".join(capsys.readouterr())
        assert shown and is_harmless(shown)
    page = (study / "report" / "report.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.found & {"script", "onerror", "onload"}
    assert all(f"oh {name}" in tags.text for name in HOSTILE)
    assert not any(name in page for name in HOSTILE if "<" in name)


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_class_is_refused_safely(command, manifest, label):
    path = manifest(label)
    path.write_text(path.read_text(encoding="utf-8").replace("infected", "other"))
    message = command.refused("--data", path)
    assert "Say --positive " in message and repr(label) in message and is_harmless(message)


def test_a_class_folder_that_is_not_utf_8_is_refused(command, photographs):
    os.rename(photographs / "clean", os.fsencode(photographs) + b"/cl\xe9an")
    message = command.refused("--data", photographs)
    assert "'cl\\udce9an'" in message and "UTF-8" in message


def test_files_that_are_not_utf_8_are_listed(command, small_machine, photographs, tmp_path):
    path = next((photographs / "clean").iterdir())
    os.rename(path, os.fsencode(path.parent) + b"/w\xf6und_1.png")
    assert command("--data", photographs, "--trials", "1", "--image-ids", tmp_path / "ids.csv")[0] == 0
    assert b"clean/w\xf6und_1.png," in (tmp_path / "ids.csv").read_bytes()


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_and_progress_are_shown_safely(capsys, text):
    print_error(ValueError(f"two\nlines {text}"))
    Display()(f"a trial failed: {text}")
    printed, message = capsys.readouterr()
    assert is_harmless(printed + message) and message.startswith("error: two\nlines ")


def test_a_study_named_by_a_stranger_is_refused_safely(tmp_path, capsys):
    name = str(tmp_path / "\x1b[2Jstudy")
    for show in (leaderboard.main, report.main, lambda arguments: reproduce.main([*arguments, "--trial", "x"])):
        assert show([name]) == 2
        message = "".join(capsys.readouterr())
        assert "\\x1b[2Jstudy" in message and is_harmless(message)
