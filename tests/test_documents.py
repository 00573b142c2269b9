"""README and docs/ name files that exist, and the README stays short."""

import doctest
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.report_study import make_study

ROOT = Path(__file__).resolve().parents[1]
README = Path("README.md")
PAGES = [README, Path("benchmarks/README.md"), *sorted(p.relative_to(ROOT) for p in ROOT.glob("docs/*.md"))]
FOLDERS = "study|models|data_utils|results|benchmarks|tests|docs|examples"
PATH = re.compile(rf"(?<![\w/.<>*-])(?:{FOLDERS})/[\w/.-]*\w")  # in text, code and links from the root
BARE = re.compile(r"`([\w-]+\.(?:py|yaml|toml))`")  # a file's name alone
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
MAX_LINES, MAX_TREE_LINES = 220, 45


def text_of(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def missing(text: str, page: Path) -> list[str]:
    """The paths, links and names of files in a page that lead nowhere."""
    paths = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    links = [link for link in LINK.findall(text) if not (ROOT / page.parent / link).exists()]
    return paths + links + [name for name in BARE.findall(text) if name not in names()]


@cache
def names() -> set[str]:
    """Names of all files of the repository, without environments, hidden folders and results."""
    folders = [ROOT / folder for folder in FOLDERS.split("|")]
    return {path.name for folder in folders for path in folder.rglob("*.*")} | {path.name for path in ROOT.glob("*.*")}


def tree() -> list[str]:
    """The lines of the README's tree of files."""
    (block,) = re.findall(r"```\n(study/ .*?)```", text_of(README), re.DOTALL)
    return block.splitlines()


def tree_paths(lines: list[str]) -> list[str]:
    """`study/`, then `  gan/  sampling`, `  a.py, b.py  both` -> study/, study/gan/, study/a.py, study/b.py."""
    paths, folder = [], ""
    for line in lines:
        named = re.split(r"\s{2,}", line.strip())[0].split(", ")
        if not line.startswith(" "):
            folder, named = named[0], [""]
        paths += [folder + name for name in named]
    return paths


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_page_names_exists(page):
    assert missing(text_of(page), page) == []


def test_a_path_that_leads_nowhere_is_found():
    text = "`study/no_such.py`, [there](docs/no_such.md), `no_such.py`, `runs/STUDY/trials`, `study/config.py`"
    assert missing(text, README) == ["study/no_such.py", "docs/no_such.md", "docs/no_such.md", "no_such.py"]


def test_readme_is_short():
    assert len(text_of(README).splitlines()) <= MAX_LINES
    assert len(tree()) <= MAX_TREE_LINES


def test_readmes_flags_exist():
    files = [*(ROOT / "study").rglob("*.py"), *(ROOT / "results").rglob("*.py")]
    known = re.findall(r'"(--[a-z-]+)"', "".join(path.read_text(encoding="utf-8") for path in files))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text_of(README))) <= set(known)


def test_readmes_python_runs(tmp_path, monkeypatch, capsys):
    make_study(tmp_path / "runs" / "folders-smoke")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(>>>.*?)```", text_of(README), re.DOTALL)
    names = {}
    for example in doctest.DocTestParser().get_examples(code):
        exec(compile(example.source, "README.md", "single"), names)
    printed = capsys.readouterr().out
    assert "efficientnetv2_s" in printed and "ci_high" in printed


@pytest.mark.parametrize("path", tree_paths(tree()))
def test_every_file_of_the_tree_exists(path):
    assert (ROOT / path).exists()


def test_files_of_the_tree_are_found_below_their_folder():
    assert tree_paths(["a/    x", "  b.py, c.py   y", "  d/  z"]) == ["a/", "a/b.py", "a/c.py", "a/d/"]
