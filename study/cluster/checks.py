"""The checks before a study runs: each judges the facts that the nodes report. No Ray here."""

import tempfile
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from study.cluster.facts import Gpu, NodeFacts, examine, file_digest, look_again, versions
from study.errors import ConfigError
from study.storage.lock import kernel_lock
from study.trial.provenance import ROOT

MIN_FREE_DISK = 2**30  # bytes; a smoke study writes a tenth of it
MIN_FREE_GPU = 0.8  # of a GPU's memory
MAX_SKEW_S = 2.0  # times in rows and logs are compared over nodes
MARKS = {True: "pass", False: "FAIL", None: "skip"}


@dataclass(frozen=True)
class Check:
    """One line of the doctor: `ok` is None where there is nothing to check, `fix` says how to mend a failure."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""

    def __str__(self) -> str:
        lines = wrap(f"{MARKS[self.ok]}  {self.name:<15}", " ".join(self.found.split()))
        return f"{lines}\n{wrap(' ' * 6 + 'to mend it     ', self.fix)}" if self.fix else lines


def wrap(start: str, text: str) -> str:
    """Lines of at most 80 columns; paths and addresses stay whole, so that they can be copied."""
    return textwrap.fill(
        text, 80, initial_indent=start, subsequent_indent=" " * 21, break_long_words=False, break_on_hyphens=False
    )


def judged(name: str, faults: Iterable[str], found: str, fix: str) -> Check:
    """A check that fails with the first of `faults`, and passes where there is none."""
    faults = list(faults)
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return Check(name, False, faults[0] + more, fix) if faults else Check(name, True, found)


def failure(name: str, error: Exception) -> Check:
    """A failed check from an error, whose message says what is wrong; and how to mend it."""
    found, _, fix = str(error).partition("; ")
    return Check(name, False, found, fix)


def pins() -> dict[str, str]:
    """The exact versions that pyproject.toml asks for, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pairs = (requirement.split("==") for requirement in project["dependencies"])
    return {name.partition("[")[0]: version for name, version in pairs}


def check_versions(nodes: dict[str, NodeFacts], here: dict[str, str], pinned: dict[str, str]) -> Check:
    """Every node has the pinned packages, and the same Python and code as this process."""
    wanted = here | pinned
    faults = (
        f"{node} has {name} {facts.versions[name]}, not {version}"
        for node, facts in nodes.items()
        for name, version in wanted.items()
        if facts.versions[name].partition("+")[0] != version  # 2.15.0+cu130 is a build of 2.15.0
    )
    found = f"Python {here['Python']}, {len(pinned)} packages as pinned, code {here['code']}"
    return judged("versions", faults, found, "give every node the same folder, and in it: pip install -e .")


def check_storage(nodes: dict[str, NodeFacts], folder: Path) -> Check:
    """Every node can write and rename in the folder, sees what the others wrote, and respects their locks."""
    writers = {facts.written: node for node, facts in nodes.items()}
    errors = [f"{node} cannot write: {facts.storage_error}" for node, facts in nodes.items() if facts.storage_error]
    unseen = [
        f"{node} does not see what {writers[name]} wrote" for node, facts in nodes.items() for name in facts.unseen
    ]
    unlocked = [f"{node} takes a lock that another holds" for node, facts in nodes.items() if not facts.lock_holds]
    fix = f"--out must lie on a file system that all nodes mount alike, with locks (NFS 4, not `nolock`): {folder}"
    return judged("storage", errors or unseen or unlocked, "written, renamed, seen and locked", fix)


def check_disk(nodes: dict[str, NodeFacts]) -> Check:
    """There is room in the folder of studies and in the temporary folder, where Ray keeps its files."""
    free = [(size, folder, node) for node, facts in nodes.items() for folder, size in facts.free_disk.items()]
    full = (entry for entry in free if entry[0] < MIN_FREE_DISK)
    faults = (f"{size / 2**30:.1f} GiB free in {folder} of {node}" for size, folder, node in full)
    found = f"{gibibytes(min(free)[0])} GiB free or more, in --out and the temporary folder"
    return judged("disk", faults, found, f"free at least {MIN_FREE_DISK / 2**30:.0f} GiB")


def check_data(nodes: dict[str, NodeFacts], prepared: Path | None, digest: str | None) -> Check:
    """Every node reads the same prepared file as this process; `digest` is its SHA-256 here."""
    if prepared is None:
        return Check("same data", None, "nothing prepared yet")
    faults = (
        f"{node} {'reads another content in' if facts.prepared_digest else 'cannot read'} {prepared}"
        for node, facts in nodes.items()
        if facts.prepared_digest is None or facts.prepared_digest != digest
    )
    fix = "choose an --out that all nodes share, or delete the file and prepare the photographs again"
    return judged("same data", faults, f"fingerprint {prepared.stem}, the same bytes", fix)


def check_clocks(nodes: dict[str, NodeFacts], asked: float, answered: float) -> Check:
    """No node's clock differs much from this machine's, which read `asked` and `answered` around the question."""
    skews = {node: max(asked - facts.clock, facts.clock - answered, 0.0) for node, facts in nodes.items()}
    faults = (f"{node} is {skew:.0f} s off" for node, skew in skews.items() if skew > MAX_SKEW_S)
    found = f"within {max(skews.values()) + answered - asked:.2f} s"
    return judged("clocks", faults, found, "run a time service on every node, such as chrony")


def check_gpus(nodes: dict[str, list[Gpu] | None]) -> Check:
    """torch can use every GPU, and other processes hold little of its memory."""
    if not any(gpus is not None for gpus in nodes.values()):
        return Check("GPUs", None, "no NVIDIA driver")
    unusable = [f"torch finds no GPU on {node}" for node, gpus in nodes.items() if gpus == []]
    everything = [(node, gpu) for node, gpus in nodes.items() for gpu in gpus or ()]
    taken = [
        f"{gpu.name} of {node} has {gibibytes(gpu.free)} of {gibibytes(gpu.total)} GiB free"
        for node, gpu in everything
        if gpu.free < MIN_FREE_GPU * gpu.total
    ]
    kinds = ", ".join(sorted({gpu.name for _, gpu in everything}))
    least = gibibytes(min((gpu.free for _, gpu in everything), default=0))
    fix = "run `nvidia-smi`: update the driver to the CUDA version of torch's build, and end the processes it lists"
    return judged("GPUs", unusable + taken, f"{len(everything)} x {kinds}, {least} GiB free or more", fix)


def gibibytes(size: int) -> str:
    return f"{size / 2**30:.0f}"


def check_token(nodes: dict[str, NodeFacts], is_demanded: bool, started_here: bool) -> Check:
    """Ray requires a token, and no other user of a node can read it."""
    if not is_demanded and not started_here:
        fix = "`ray get-auth-token --generate`, copy it to every node, and start Ray there with RAY_AUTH_MODE=token"
        return Check("token", False, "Ray requires no token: whoever reaches its port can run code as you", fix)
    faults = (
        f"{facts.token_file} of {node} has mode {facts.token_mode:04o}"
        for node, facts in nodes.items()
        if facts.token_mode is not None and facts.token_mode & 0o077
    )
    found = "required, and only its owner can read the file" if is_demanded else "not required by Ray on this machine"
    return judged("token", faults, found, "chmod 600 that file on every node")


def check_ports(nodes: dict[str, list[str]], token_is_demanded: bool, started_here: bool) -> Check:
    """Ray on one machine listens on loopback only; Ray on a cluster requires its token on every other port."""
    exposed = [f"{port} of {node}" for node, ports in nodes.items() for port in ports]
    found = f"{len(exposed)} of Ray's ports are open beyond loopback{', all behind the token' if exposed else ''}"
    if started_here or not token_is_demanded:
        fix = "unset the variables that set Ray's addresses" if started_here else "start Ray with RAY_AUTH_MODE=token"
        return judged("ports", exposed, found, f"{fix}, or close the ports with a firewall")
    return Check("ports", True, found)


@dataclass(frozen=True)
class Survey:
    """The facts of each node; `asked` and `answered`, in seconds since 1970, enclose the reading of their clocks."""

    nodes: dict[str, NodeFacts]
    asked: float
    answered: float


def survey(ask: Callable[..., dict], out: Path, prepared: Path | None) -> Survey:
    """Ask each node twice by `ask(function, *arguments)`, which returns answers by node; `out` is the shared folder.

    The second question is whether the nodes see each other's files and this process's lock.
    """
    with tempfile.TemporaryDirectory(prefix=".nodes-", dir=out) as folder, ExitStack() as stack:
        with suppress(OSError):  # a file system without locks: the second look will tell
            stack.enter_context(kernel_lock(Path(folder, "lock")))
        first = ask(examine, Path(folder), list(pins()), prepared)
        asked = time.time()
        second = ask(look_again, Path(folder), [facts.written for facts in first.values()])
        answered = time.time()
    nodes = {
        node: replace(first[node], unseen=unseen, lock_holds=lock_holds, clock=clock)
        for node, (unseen, lock_holds, clock) in second.items()
        if node in first  # a cluster may grow in between
    }
    return Survey(nodes, asked, answered)


def node_checks(found: Survey, out: Path, prepared: Path | None) -> list[Check]:
    """The nodes compared with this process and with pyproject.toml."""
    return [
        check_versions(found.nodes, versions([]), pins()),
        check_storage(found.nodes, out),
        check_disk(found.nodes),
        check_data(found.nodes, prepared, prepared and file_digest(prepared)),
        check_clocks(found.nodes, found.asked, found.answered),
    ]


def refuse_unfit_nodes(ask: Callable[..., dict], out: Path, prepared: Path) -> None:
    """ConfigError with the first check that fails."""
    for check in node_checks(survey(ask, out, prepared), out, prepared):
        if check.ok is False:
            raise ConfigError(f"{check.name}: {check.found}; {check.fix} (`python study/doctor.py` checks more)")
