"""The nodes asked before a study runs: the checks of `study/checks.py` that it cannot do without."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from study.checks import Check, check_clocks, check_data, check_disk, check_storage, check_versions, pins
from study.config import ConfigError
from study.node_facts import NodeFacts, examine, file_digest, look_again, versions


@dataclass(frozen=True)
class Survey:
    """What the nodes told, by node, and the seconds since 1970 between which they told their time."""

    nodes: dict[str, NodeFacts]
    asked: float
    answered: float


def survey(ask: Callable[..., dict], out: Path, prepared: Path | None) -> Survey:
    """Ask each node twice by `ask(function, *arguments)`, which returns answers by node; `out` is all nodes' storage.

    The second question shows whether the nodes see each other's files and this process's lock.
    """
    with tempfile.TemporaryDirectory(prefix=".nodes-", dir=out) as folder, FileLock(Path(folder, "lock")):
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
    """What the nodes told, held against this process and pyproject.toml."""
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
