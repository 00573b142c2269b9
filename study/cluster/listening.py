"""The sockets that processes listen on, read from Linux's /proc."""

import ipaddress
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LISTEN = "0A"  # as /proc/net/tcp writes it


class Listener(NamedTuple):
    command: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def is_loopback(self) -> bool:
        return (getattr(self.address, "ipv4_mapped", None) or self.address).is_loopback


def listeners(*roots: int) -> set[Listener]:
    """All TCP sockets that the processes `roots` and their descendants listen on; those of other users are unseen."""
    sockets = listening_sockets()
    found = set()
    for pid in descendants(*roots):
        try:
            command = command_of(pid)
            links = links_of(pid)
        except OSError:  # it has ended, or is another user's
            continue
        found |= {Listener(command, *sockets[link]) for link in links if link in sockets}
    return found


def links_of(pid: int) -> list[str]:
    """What the open files of a process are, as far as they stay open."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return links


def processes_naming(word: str) -> list[int]:
    """The processes whose command line has `word` in it."""
    return [pid for pid in pids() if word in command_of(pid)]


def descendants(*roots: int) -> set[int]:
    """Processes and all below them."""
    parents = {}
    for pid in pids():
        try:
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    family, size = set(roots), 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return family


def pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def command_of(pid: int) -> str:
    """Program and arguments; empty where the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def listening_sockets() -> dict[str, tuple]:
    """`socket:[inode]` -> address and port."""
    tables = [Path("/proc/net", name) for name in ("tcp", "tcp6")]  # no tcp6 where IPv6 is off
    texts = [table.read_text(encoding="utf-8") for table in tables if table.exists()]
    lines = [line.split() for text in texts for line in text.splitlines()[1:]]
    return {f"socket:[{line[9]}]": address_of(line[1]) for line in lines if line[3] == LISTEN}


def address_of(text: str) -> tuple:
    """`0100007F:1F90` -> 127.0.0.1 and 8080: words of four bytes, each in the machine's (little-endian) order."""
    address, port = text.split(":")
    words = bytes.fromhex(address)
    ordered = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    return ipaddress.ip_address(ordered), int(port, 16)
