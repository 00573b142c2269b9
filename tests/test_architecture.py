"""The arrows of docs/design.md, held against every import statement of the four packages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("study", "models", "data_utils", "results")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
RESULTS_MAY_IMPORT = {
    *sys.stdlib_module_names, "results",
    "numpy", "scipy", "sklearn", "pandas", "pyarrow", "optuna", "sqlalchemy", "matplotlib", "jinja2",
    "PIL",
}  # fmt: skip

RAY_ROOM = "study.cluster"
RAY_COMMANDS = {Path(f"study/{name}.py") for name in ("run_sweep", "confirm", "benchmark", "doctor")}
# Of study/: a file imports its own room and rooms to its left. Rooms in one set do not import each other.
ORDER = (
    {"errors"}, {"config"}, {"storage"}, {"training"}, {"gan", "diagnosis", "search"}, {"trial", "loggers"},
    {"gan_audit", "progress"}, {"cluster"}, {"settings"}, {"bundle"}, {"flags"}, {"commands"},
    {"run_sweep", "confirm", "audit", "reproduce", "benchmark", "doctor", "export", "generate", "predict", "serve"},
    {"__main__"},
)  # fmt: skip
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


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
    in_ray_room = path.parts[:2] == ("study", "cluster")
    if "ray" in tops and not in_ray_room:
        broken.append(f"only {RAY_ROOM} imports ray")
    if package == "study":
        broken += [f"{room_of(path)} imports {other}" for other in sorted(rooms(modules)) if not may(path, other)]
    if package == "results" and tops - RESULTS_MAY_IMPORT:
        broken.append(f"results imports {tops - RESULTS_MAY_IMPORT}")
    return broken


def private_names_of_ray(source: str, path: Path) -> set[str]:
    """Modules that Ray keeps to itself, and attributes, in a file that imports Ray, that its objects keep so."""
    modules = {module for module in imported_modules(source, path) if module.split(".")[0] == "ray"}
    found = {module for module in modules if "._" in module or module.startswith("ray.core")}
    for node in ast.walk(ast.parse(source)) if modules else ():
        # `worker`, of a runtime context, is not documented.
        if isinstance(node, ast.Attribute) and (re.match("_[a-z]", node.attr) or node.attr == "worker"):
            found.add(node.attr)
    return found


def room_of(path: Path) -> str:
    return path.parts[1].removesuffix(".py")


def rooms(modules: set[str]) -> set[str]:
    return {module.split(".")[1] for module in modules if module.startswith("study.")} & set(FLOOR)


def may(path: Path, other: str) -> bool:
    own = room_of(path)
    return own == "__init__" or own == other or FLOOR[other] < FLOOR[own]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_arrows(path):
    assert broken_rules((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_rays_private_names_are_used_in_one_file(path):
    found = private_names_of_ray((ROOT / path).read_text(encoding="utf-8"), path)
    assert bool(found) == (path == Path("study/cluster/private.py")), found


@pytest.mark.parametrize(
    "source",
    [
        "from ray._private import ray_constants",
        "import ray._private.state",
        "from ray.core.generated.gcs_pb2 import PlacementGroupTableData",
        "from ray.train.torch.config import _TorchBackend",
        "import ray\nray._config",
        "import ray\nray.get_runtime_context().worker.node",
    ],
)
def test_a_private_name_of_ray_is_found(source):
    assert private_names_of_ray(source, Path("study/cluster/driver.py"))


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
        ("results/tables/store.py", "import torch.nn"),
        ("results/tables/store.py", "from pydantic import BaseModel"),
        ("results/sub/tables.py", "from ...models import critic"),
        ("study/trial/run.py", "if True:\n    from ray import train"),
        ("study/trial/run.py", "from study.cluster import driver"),
        ("study/gan/step.py", "from study.trial.run import run_trial"),
        ("study/gan/step.py", "from ..diagnosis import train"),
        ("study/audit.py", "from study.run_sweep import report"),
        ("study/trial/run.py", "import tests.test_architecture"),
    ],
)
def test_a_broken_arrow_is_found(path, source):
    assert broken_rules(source, Path(path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("study/cluster/driver.py", "import ray\nfrom ray import tune"),
        ("study/cluster/connect.py", "import ray"),
        ("study/run_sweep.py", "from study.cluster import driver"),
        ("study/doctor.py", "from study.cluster.connect import connect"),
        ("study/trial/run.py", "from models.critic import Critic\nfrom results.tables.store import write_rows"),
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


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_no_folder_holds_more_than_15_files(package):
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert {str(f.relative_to(ROOT)): n for f in folders if (n := len(list(f.glob("*.py")))) > 15} == {}


@pytest.mark.parametrize("pattern", ["results/**/*", "study/*", "benchmarks/*"])
def test_no_file_beside_a_command_hides_a_module_of_the_standard_library(pattern):
    """Python puts a command's folder first on its path."""
    names = {path.stem for path in ROOT.glob(pattern) if path.suffix == ".py" or path.is_dir()}
    assert names > {"__init__"} and not names & (sys.stdlib_module_names - {"__init__"})


def test_no_test_imports_another():
    for path in (ROOT / "tests").rglob("*.py"):
        modules = imported_modules(path.read_text(encoding="utf-8"), path.relative_to(ROOT))
        assert not [m for m in modules if m.split(".")[-1].startswith("test_") or ".test_" in m], path


def test_trials_and_audits_load_no_ray():
    code = (
        "import sys, study.trial.execute, study.gan_audit.study, study.settings, study.commands.dry_run; "
        "print('ray' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_of_a_slot_only_the_workers_load_torch():
    """What Tune's actor and Ray Train's controller unpickle."""
    code = "import sys, study.cluster.slots.slot, study.trial.record; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["run_sweep", "confirm", "audit", "reproduce", "doctor"])
def test_help_loads_nothing_slow(command):
    code = (
        f"import sys, contextlib, study.{command} as command\n"
        "with contextlib.suppress(SystemExit): command.main(['--help'])\n"
        "print({'torch', 'timm', 'sklearn', 'optuna', 'ray', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("usage: ") and run.stdout.endswith("\nset()\n")


def test_the_list_of_commands_loads_none_of_them():
    code = "import sys; from study.__main__ import COMMANDS, main; main(['--help']); "
    code += "print({'pandas', 'numpy', *(module for module, _ in COMMANDS.values())} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.endswith("\nset()\n")
