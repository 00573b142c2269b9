"""The facts that a node reports about itself, in a Ray task of its own: so little is imported here."""

import hashlib
import importlib.metadata
import ipaddress
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from filelock import Timeout

from study.storage.lock import kernel_lock
from study.trial.provenance import code_version

LIST_GPUS = """
import torch
for number in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(number)
    print(torch.cuda.get_device_name(number), free, total, sep="\\t")
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it; memory in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class NodeFacts:
    """What a node reports; sizes in bytes, `clock` in seconds since 1970.

    `unseen`, `lock_holds` and `clock` are known after the second look only.
    """

    versions: dict[str, str]  # of Python, the code and the packages; "missing" where a package is not installed
    written: str  # the name of its file in the shared folder
    storage_error: str | None
    free_disk: dict[str, int]  # by folder
    prepared_digest: str | None  # sha256; None where the file is not there
    token_file: Path
    token_mode: int | None  # permission bits of Ray's token file; None where there is none
    unseen: tuple[str, ...] = ()
    lock_holds: bool = True
    clock: float = 0.0


def examine(probe: Path, packages: list[str], prepared: Path | None) -> NodeFacts:
    """The first look: leave a file in the folder `probe`, which the launcher has made, and report on this node."""
    name = uuid.uuid4().hex
    try:
        leave_file(probe / name)
        storage_error = None
    except OSError as error:
        storage_error = error.strerror or type(error).__name__
    folders = [probe.parent, Path(tempfile.gettempdir())]
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return NodeFacts(
        versions=versions(packages),
        written=name,
        storage_error=storage_error,
        free_disk={str(folder): shutil.disk_usage(folder).free for folder in folders if folder.exists()},
        prepared_digest=prepared and file_digest(prepared),
        token_file=token_file,
        token_mode=token_file.stat().st_mode & 0o777 if token_file.exists() else None,
    )


def look_again(probe: Path, written: list[str]) -> tuple[tuple[str, ...], bool, float]:
    """The second look, while the launcher holds a lock in `probe`: the other nodes' files that are not seen here, or
    old; whether the lock holds here; and the time."""
    unseen = tuple(name for name in written if not is_seen(probe / name))
    return unseen, lock_holds(probe / "lock"), time.time()


def leave_file(path: Path) -> None:
    """Write a file and replace it by a rename, as tables and checkpoints are written."""
    path.write_text("old", encoding="utf-8")
    temporary = path.with_suffix(".new")
    temporary.write_text("new", encoding="utf-8")
    os.replace(temporary, path)


def is_seen(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8") == "new"
    except OSError:
        return False


def lock_holds(path: Path) -> bool:
    """Whether this node respects a lock that another process holds."""
    try:
        with kernel_lock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # the folder is not there, or its file system has no locks
        return False


def versions(packages: list[str]) -> dict[str, str]:
    """The versions of Python, of the code, and of each package."""
    found = {"Python": platform.python_version(), "code": code_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def file_digest(path: Path) -> str | None:
    """sha256 in hex digits; None where there is no such file, or this user may not read it."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def gpus() -> list[Gpu] | None:
    """This node's GPUs, as far as torch can use them; None where NVIDIA's driver is not installed.

    Another process is asked: Ray hides GPUs from tasks that reserve none.
    """
    if not shutil.which("nvidia-smi"):
        return None
    seeing_all = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    run = subprocess.run([sys.executable, "-c", LIST_GPUS], env=seeing_all, capture_output=True, text=True)
    rows = [line.split("\t") for line in run.stdout.splitlines() if line.count("\t") == 2]
    return [Gpu(name, int(free), int(total)) for name, free, total in rows]


class Listener(NamedTuple):
    """A TCP socket that a process listens on."""

    command: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        address = ipaddress.ip_address(self.address)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listeners(processes: Iterable[psutil.Process]) -> set[Listener]:
    """All TCP sockets that these processes and their descendants listen on; those of other users are unseen."""
    found = set()
    for root in processes:
        for process in family(root):
            try:
                command, sockets = " ".join(process.cmdline()), process.net_connections("tcp")
            except psutil.Error:  # it has ended, or is another user's
                continue
            found |= {Listener(command, *one.laddr) for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all below it; none where it has ended."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def exposed_ports(session: str) -> list[str]:
    """The sockets that Ray's processes listen on beyond loopback, such as `raylet 0.0.0.0:8076`, sorted."""
    of_session = (one for one in psutil.process_iter(["cmdline"]) if session in " ".join(one.info["cmdline"] or ()))
    found = listeners([psutil.Process(os.getppid()), *of_session])  # a task's parent is the raylet
    return sorted({f"{short(one.command)} {one.address}:{one.port}" for one in found if not one.is_loopback})


def short(command: str) -> str:
    """`/.../raylet --x` -> raylet, `python -u /.../dashboard.py` -> dashboard."""
    words = [Path(word).stem for word in command.split() if not word.startswith("-")]
    programs = [word for word in words if not word.startswith("python")]
    return (programs or words or ["?"])[0]
