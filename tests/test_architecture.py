"""The arrows of docs/design.md, held against every import statement of the four packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("study", "models", "data_utils", "results")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
RESULTS_MAY_IMPORT = {
    *sys.stdlib_module_names, "results",
    "numpy", "scipy", "sklearn", "pandas", "pyarrow", "optuna", "matplotlib", "jinja2", "PIL",
}  # fmt: skip

RAY_NAMES = (
    "tune_driver.py", "tune_reports.py", "ray_cluster.py", "process_group.py", "placement_groups.py", "nodes.py",
)  # fmt: skip
RAY_FILES = {Path("study") / name for name in RAY_NAMES}
RAY_COMMANDS = {Path("study/run_sweep.py"), Path("study/confirm.py"), Path("study/doctor.py")}


def imported_modules(source: str, path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too; relative ones made absolute."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = path.parts[: len(path.parts) - node.level] if node.level else ()
            base = [*parents, *([node.module] if node.module else [])]
            modules |= {".".join(base), *(".".join([*base, alias.name]) for alias in node.names)}
    return modules - {""}


def broken_rules(source: str, path: Path) -> list[str]:
    modules = imported_modules(source, path)
    tops = {module.split(".")[0] for module in modules}
    package = path.parts[0]
    broken = []
    if package != "study" and tops & (set(PACKAGES) - {package}):
        broken.append(f"{package} imports neither study nor its other neighbours")
    if "tests" in tops:
        broken.append("nothing imports the tests")
    if "ray" in tops and path not in RAY_FILES:
        broken.append(f"only {', '.join(sorted(map(str, RAY_FILES)))} import ray")
    if {".".join(file.with_suffix("").parts) for file in RAY_FILES} & modules and path not in RAY_COMMANDS | RAY_FILES:
        broken.append("only the commands that need Ray import its files, so that all else runs without it")
    if package == "results" and tops - RESULTS_MAY_IMPORT:
        broken.append(f"results imports {tops - RESULTS_MAY_IMPORT}")
    return broken


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_arrows(path):
    assert broken_rules((ROOT / path).read_text(encoding="utf-8"), path) == []


def test_every_package_was_walked():
    assert {path.parts[0] for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/critic.py", "from study.config import GanConfig"),
        ("models/critic.py", "from data_utils import dataset"),
        ("data_utils/split.py", "def f():\n    import models.critic"),
        ("data_utils/split.py", "from ..study import config"),
        ("data_utils/split.py", "from .. import study"),
        ("results/tables.py", "import torch.nn"),
        ("results/tables.py", "from pydantic import BaseModel"),
        ("results/sub/tables.py", "from ...models import critic"),
        ("study/trial.py", "if True:\n    from ray import train"),
        ("study/trial.py", "from study import tune_driver"),
        ("study/checks.py", "from study.ray_cluster import connect"),
        ("study/reproduce.py", "from .tune_driver import run"),
        ("study/trial.py", "import tests.test_architecture"),
    ],
)
def test_a_broken_arrow_is_found(path, source):
    assert broken_rules(source, Path(path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("study/tune_driver.py", "import ray\nfrom ray import tune"),
        ("study/ray_cluster.py", "import ray"),
        ("study/run_sweep.py", "from study import tune_driver"),
        ("study/doctor.py", "from study.ray_cluster import connect"),
        ("study/trial.py", "from models.critic import Critic\nfrom results.tables import write_rows"),
        ("results/leaderboard.py", "import json\nfrom . import tables\nimport pandas as pd"),
        ("data_utils/prepare.py", "import torch, pyarrow\nfrom .split import grouped_split"),
    ],
)
def test_an_arrow_along_the_design_is_allowed(path, source):
    assert broken_rules(source, Path(path)) == []


def test_reading_results_loads_neither_torch_nor_ray():
    code = "import sys, results.leaderboard; print(sorted({'torch', 'ray', 'pydantic', 'study'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
