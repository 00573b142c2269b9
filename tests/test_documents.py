"""README and docs/ name files that exist, and the README stays short."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [Path("README.md"), Path("benchmarks/README.md"), *sorted(p.relative_to(ROOT) for p in ROOT.glob("docs/*.md"))]
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
    (block,) = re.findall(r"```\n(study/ .*?)```", text_of(Path("README.md")), re.DOTALL)
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
    assert missing(text, Path("README.md")) == ["study/no_such.py", "docs/no_such.md", "docs/no_such.md", "no_such.py"]


def test_readme_is_short():
    assert len(text_of(Path("README.md")).splitlines()) <= MAX_LINES
    assert len(tree()) <= MAX_TREE_LINES


@pytest.mark.parametrize("path", tree_paths(tree()))
def test_every_file_of_the_tree_exists(path):
    assert (ROOT / path).exists()


def test_files_of_the_tree_are_found_below_their_folder():
    assert tree_paths(["a/    x", "  b.py, c.py   y", "  d/  z"]) == ["a/", "a/b.py", "a/c.py", "a/d/"]
