"""The code that decides a GAN's weights: a GAN trained by other code is not reused."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("data_utils", "models", "study")
START = ROOT / "study/gan/train.py"
# Imported there, but without effect on a GAN: its key contains the settings, and files are checked when read back.
WITHOUT_EFFECT = ("study/config.py", "study/errors.py", "study/storage/", "data_utils/errors.py")


@cache
def gan_code_version() -> str:
    """12 hex digits of the source files that decide a GAN's weights and its measured quality."""
    digest = hashlib.sha256()
    for path in gan_code():
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def gan_code() -> list[Path]:
    """The training's file and all of this project's files that it imports, directly or not."""
    found, waiting = set(), [START]
    while waiting:
        path = waiting.pop()
        if path not in found and not path.relative_to(ROOT).as_posix().startswith(WITHOUT_EFFECT):
            found.add(path)
            waiting += imported_files(path)
    return sorted(found)


def imported_files(path: Path) -> list[Path]:
    """This project's files that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith(PACKAGES)]
    return [file for file in files if file.exists()]
