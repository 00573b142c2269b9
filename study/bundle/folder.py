"""A bundle on disk: the files it may hold, and the manifest that each of them is held against. Needs no torch.

The manifest finds damage and exchanged files. It is not signed: whoever can rewrite the whole folder can rewrite the
manifest too, so take bundles from people you trust.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from study.errors import ConfigError

FORMAT, VERSION = "dfu-study bundle", 1
MANIFEST = "manifest.json"
ABOUT = "bundle.json"
CARD = "README.md"
TRAINING_FEATURES = "training_features.safetensors"
WEIGHTS = {"classifier": "classifier.safetensors", "generator": "generator.safetensors"}
ONNX = {"classifier": "classifier.onnx", "generator": "generator.onnx"}
INT8 = "classifier_int8.onnx"
REQUIRED = {ABOUT, CARD, TRAINING_FEATURES, INT8, WEIGHTS["classifier"], ONNX["classifier"]}
OPTIONAL = {WEIGHTS["generator"], ONNX["generator"]}  # a trial on real images alone has no GAN


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: `about` is the content of `bundle.json`, `hashes` the SHA-256 of each file by its name."""

    folder: Path
    about: dict
    hashes: dict[str, str]

    @property
    def has_generator(self) -> bool:
        return ONNX["generator"] in self.hashes

    @property
    def class_names(self) -> tuple[str, str]:
        """(negative, positive)"""
        return tuple(self.about["class_names"])

    @property
    def z_dim(self) -> int:
        """Length of the generator's latent points."""
        return self.about["generator"]["z_dim"]

    @property
    def config(self) -> dict:
        """The fields of `study.config.TrialConfig`."""
        return self.about["config"]

    def read(self, name: str) -> bytes:
        """The content of a file, checked against the manifest each time. Raises ConfigError."""
        content = _content(self.folder, name)
        if sha256(content) != self.hashes[name]:
            raise ConfigError(
                f"{self.folder / name} is not the file that was exported: its checksum differs from {MANIFEST}; "
                "copy the bundle again, or export it again"
            )
        return content


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file of it; ConfigError where it is damaged, altered, or no bundle."""
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder} is not a bundle: it has no {MANIFEST}; make one with study/export.py")
    hashes = _hashes(folder, _json(folder, MANIFEST))
    bundle = Bundle(folder, {}, hashes)
    for name in hashes:
        bundle.read(name)
    return Bundle(folder, _json(folder, ABOUT), hashes)


def write_manifest(folder: Path) -> None:
    """List the files of a bundle with their checksums: the last step of an export."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files = {
        name: {"sha256": sha256(content), "bytes": len(content)}
        for name, content in contents.items()
    }
    assert _named_rightly(set(files)), files.keys()
    text = json.dumps({"format": FORMAT, "version": VERSION, "files": files}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _hashes(folder: Path, manifest: dict) -> dict[str, str]:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ConfigError(f"{folder / MANIFEST} is not the manifest of a bundle of this project")
    if manifest.get("version") != VERSION:
        raise ConfigError(
            f"{folder} has bundle version {manifest.get('version')!r}; this code reads version {VERSION}: "
            "export it again, or use the code that made it"
        )
    try:
        hashes = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(f"{folder / MANIFEST} is damaged: its list of files cannot be read") from None
    if foreign := sorted(set(hashes) - REQUIRED - OPTIONAL):
        raise ConfigError(f"{folder / MANIFEST} lists {foreign[0]!r}, which is no file of a bundle")
    if not _named_rightly(set(hashes)):
        missing = sorted((REQUIRED - set(hashes)) or (OPTIONAL - set(hashes)))
        raise ConfigError(f"{folder / MANIFEST} does not list {', '.join(missing)}; export the bundle again")
    return hashes


def _named_rightly(names: set[str]) -> bool:
    return names in (REQUIRED, REQUIRED | OPTIONAL)


def _json(folder: Path, name: str) -> dict:
    try:
        return json.loads(_content(folder, name))
    except (ValueError, RecursionError):
        raise ConfigError(f"{folder / name} is damaged: it is not JSON; copy the bundle again") from None


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{folder / name} cannot be read ({error.strerror}); copy the bundle again") from None


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
