"""constraints.txt holds one version of each package, the one that pyproject.toml names, and every set-up uses it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINE = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!_-]+)")
SET_UPS = ("Makefile", "Dockerfile", "cluster.yaml", "cluster.local.yaml")


def locked() -> dict[str, str]:
    """Package -> version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(pins), "a line that is no pin"
    versions = {canonicalize_name(pin[1]): pin[2] for pin in pins}
    assert len(versions) == len(pins), "a package with two lines"
    return versions


def test_the_lock_agrees_with_the_pins_of_the_project():
    extras = PROJECT["optional-dependencies"].values()
    wanted = [Requirement(text) for texts in (PROJECT["dependencies"], *extras) for text in texts]
    pins = {canonicalize_name(one.name): str(one.specifier) for one in wanted if one.name != PROJECT["name"]}
    found = locked()
    assert len(pins) > 40 and {name: f"=={found.get(name)}" for name in pins} == pins


@pytest.mark.parametrize("name", SET_UPS)
def test_every_set_up_uses_the_lock(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    installs = [line for line in lines if re.search("pip install.* (-e|--editable) ", line)]
    assert installs and all(re.search(r"(-c|--constraint) \S*constraints\.txt ", line) for line in installs)
