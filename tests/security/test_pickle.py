"""No file that is read can run code: no loader unpickles, and planted pickles do not run."""

import ast
import hashlib
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from data_utils.dataset import load_dataset
from data_utils.errors import DataError
from models.feature_extractor import ExtractorUnavailable, build_feature_extractor
from study.config import make_config
from study.errors import Damaged
from study.gan.folder import GanFolder
from study.gan.sampling import load_generator
from study.storage.tensors import read_tensors
from study.training.workers import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("study", "models", "data_utils", "results", "benchmarks")
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
LOADERS = {"eval", "exec", "read_pickle", "hub.load", "jit.load", "Tuner.restore", "os.system", "os.popen", "yaml.load"}


def dangers(source: str) -> list[str]:
    """The calls and imports of a file through which what it reads could run code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in UNPICKLERS:
                found += [ast.unparse(node)] * (name != "UnpicklingError")
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNPICKLERS:
                found.append(ast.unparse(node))
            case ast.Call():
                found += dangerous_call(node)
    return found


def dangerous_call(call: ast.Call) -> list[str]:
    name, given = dotted(call.func), {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    unpickles = name.split(".")[-2:] == ["torch", "load"] or name.endswith("load_state_dict_from_url")
    runs = name in LOADERS or any(name.endswith(f".{loader}") for loader in LOADERS - {"eval", "exec"})
    allowed = given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False"
    return [ast.unparse(call)] * (runs or allowed or (unpickles and given.get("weights_only") != "True"))


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_unpickles_or_runs_what_it_reads(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle\nx = pickle.loads(b)",
        "from pickle import load",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "torch.hub.load('a', 'b')",
        "tune.Tuner.restore(path, train)",
        "def f():\n    return eval(text)",
        "subprocess.run(text, shell=True)",
        "torch.hub.load_state_dict_from_url(url)",
    ],
)
def test_each_way_to_run_code_is_found(source):
    assert dangers(source)


# ---- bombs


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, crater: Path):
        self.crater = crater

    def __reduce__(self):
        return os.mkdir, (str(self.crater),)


@pytest.fixture
def bomb(tmp_path):
    """(a file, the folder that is there once it went off); it does, where pickle reads it."""
    crater, path = tmp_path / "crater", tmp_path / "bomb.pt"
    torch.save({"weight": torch.zeros(1), "bomb": Bomb(crater)}, path)
    torch.load(path, weights_only=False)
    assert crater.is_dir()
    crater.rmdir()
    return path, crater


def test_inception_weights_do_not_run(bomb):
    path, crater = bomb
    for content in (path.read_bytes(), pickle.dumps(Bomb(crater), protocol=2)):
        path.write_bytes(content)
        with pytest.raises(ExtractorUnavailable, match="cannot be read as Inception's weights"):
            build_feature_extractor("inception", path)
        assert not crater.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_do_not_run(tmp_path, zipped):
    """Their checksums are right: an attacker can write those too."""
    crater, path = tmp_path / "crater", tmp_path / "bomb"
    torch.save({"epoch": 9, "model": Bomb(crater)}, path, _use_new_zipfile_serialization=zipped)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    path.rename(tmp_path / f"checkpoint-000009-{digest}.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path, "cpu")
    assert not crater.exists()


def test_features_and_generators_do_not_run(bomb, tmp_path):
    """They are read as safetensors, whatever they contain."""
    path, crater = bomb
    config = make_config({"image_size": 32, "decoder_width": 16, "lstm_width": 8})
    for content in (path.read_bytes(), pickle.dumps(Bomb(crater))):
        path.write_bytes(content)
        with pytest.raises(Damaged):
            read_tensors(path)
        GanFolder(tmp_path).generator.write_bytes(content)
        with pytest.raises(Damaged):
            load_generator(config, GanFolder(tmp_path), torch.device("cpu"))
    assert not crater.exists()


def test_a_prepared_file_does_not_run(bomb, prepared_phantoms, tmp_path):
    path, crater = bomb
    prepared = shutil.copy(path, tmp_path / prepared_phantoms.path.name)
    with pytest.raises(DataError, match="is damaged"):
        load_dataset(Path(prepared), 32)
    assert not crater.exists()
