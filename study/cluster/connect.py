"""Joins a Ray cluster, or starts Ray on this machine."""

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import ray

from study.cluster.head import answers
from study.cluster.nodes import living_nodes
from study.cluster.private import ray_on_this_machine, session_folder, stay_on_loopback, use_token_if_there_is_one
from study.cluster.resources import BOOTSTRAP_CONFIG, Machine, autoscaled_machines, named_machines
from study.errors import ConfigError

logging.getLogger("ray").setLevel(logging.ERROR)  # its notes on tokens and defaults are not the user's concern
QUIET = {"log_to_driver": False, "configure_logging": False}  # options of `ray.init`
START_TRIES = 3
LOOPBACK = "127.0.0.1"
LONGEST_SOCKET = 107  # characters of a socket's path on Linux
SOCKET_BELOW = 80  # characters that Ray adds to the path of its folder
SOCKET_BELOW_TMPDIR = 40  # and that Python's multiprocessing adds to TMPDIR
# How long a trial waits for its workers before that counts as a failure: on a machine under load; on a cluster, where
# a lost machine's trials wait for those of the others to end, or for a new machine.
WORKER_START_S = {"machine": 300, "cluster": 24 * 3600}


def connect(address: str | None) -> list[Machine]:
    """Join the cluster at `address`, or the one this head belongs to, or start Ray here; returns its machines.

    For a cluster that scales from zero these are the machines it can grow to. ConfigError where no Ray answers.
    """
    growing_to, machines = autoscaled_machines(), named_machines()
    source = "--address" if address else "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") else "ray up"
    address = address or os.environ.get("RAY_ADDRESS") or ("auto" if growing_to or machines else None)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(WORKER_START_S["cluster" if address else "machine"])
    if address:
        refuse_silent_address(address, source)
        if on_loopback_alone(address):
            use_loopback()
        use_token_if_there_is_one()
        join(address)
    else:
        start_here()
    if growing_to:
        return growing_to
    if machines:
        wait_for_machines(machines)
    return [machine_of(node) for node in living_nodes()]


def join(address: str) -> None:
    """ConfigError where the cluster at this address does not let us in."""
    try:
        ray.init(address, **QUIET)
    except Exception as error:
        raise ConfigError(
            f"no Ray cluster could be joined at {address}: {str(error).strip()}. If it demands a token, copy the token "
            "of its head to ~/.ray/auth_token"
        ) from None


def start_here() -> None:
    """Start Ray on this machine; ConfigError where none comes up.

    Ray gives up where its agent has not read its files within 15 s, as on a busy machine or a slow disk
    (github.com/ray-project/ray/issues/65983). They are in memory when it is tried again.
    """
    for tries_left in reversed(range(START_TRIES)):
        use_loopback()
        options, before = local_options(), set(psutil.Process().children(recursive=True))
        try:
            ray.init("local", **QUIET, **options)
            return
        except Exception as error:  # Ray raises a bare one where one of its processes takes too long
            for process in set(psutil.Process().children(recursive=True)) - before:
                with suppress(psutil.Error):
                    process.kill()
            if not tries_left:
                raise ConfigError(
                    f"Ray could not be started here: {str(error).strip()} It was tried {START_TRIES} times; where the "
                    "machine is busy, wait until it is not"
                ) from None
            print("Ray did not start in its time, and is started again", flush=True)


def machine_of(node: dict) -> Machine:
    """From an entry of `ray.nodes()`."""
    return Machine(int(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))


def wait_for_machines(number: int, timeout: float = 300.0) -> None:
    """Wait for a cluster's machines, which join after `ray up` has returned; those that do not join are left out."""
    deadline = time.monotonic() + timeout
    while (joined := len(living_nodes())) < number and time.monotonic() < deadline:
        time.sleep(1)
    if joined < number:
        print(f"{joined} of {number} machines have joined; the study runs without the others", flush=True)


def use_loopback() -> None:
    """Make this process and those it starts use 127.0.0.1 as this machine's address.

    Nobody on the network can reach it: 127.0.0.1 is what Ray listens on where it does without clusters.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    stay_on_loopback()


def on_loopback_alone(address: str) -> bool:
    """Whether a loopback address is of a Ray that another command started here: nobody answers at the machine's own.

    Ray would put that one in the place of loopback, and try for ten minutes.
    """
    host, _, port = address.rpartition(":")
    return host in (LOOPBACK, "localhost") and not answers(f"{ray.util.get_node_ip_address()}:{port}")


def local_options() -> dict:
    """Options of a Ray that only this user can use, although other users of the machine can reach loopback.

    It has a token that nobody else can read, and a folder of its own: in Ray's default folder others could replace its
    sockets.
    """
    place = Path(os.environ.get("RAY_TMPDIR", "/tmp"))
    if len(str(place)) + SOCKET_BELOW > LONGEST_SOCKET:
        raise ConfigError(
            f"RAY_TMPDIR={place} is too long for the sockets that Ray makes there; name a folder of at most "
            f"{LONGEST_SOCKET - SOCKET_BELOW} characters, such as /tmp"
        )
    if not place.is_dir():
        raise ConfigError(f"RAY_TMPDIR={place} is no folder; make it, or name another, such as /tmp")
    private = new_private_folder(place)
    if len(tempfile.gettempdir()) + SOCKET_BELOW_TMPDIR > LONGEST_SOCKET:
        os.environ["TMPDIR"] = str(private)  # Ray's agents and its workers make sockets there, too
    hide_token(private)
    return {"include_dashboard": False} | session_folder(private / "r")  # Ray opens its own folder to all


def new_private_folder(place: Path) -> Path:
    """A folder of mode 700 for this process; those of processes that have ended are removed.

    So the logs of the last Ray can be read until the next one starts.
    """
    for lock in place.glob("ray-*/lock"):
        with suppress(OSError):  # another command may be removing it
            if os.lstat(lock.parent).st_uid != os.getuid():
                continue  # nothing of another user's is opened: a pipe would never answer
            with open(lock, encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=place))
    fcntl.flock(os.open(folder / "unlocked", os.O_CREAT | os.O_WRONLY, 0o600), fcntl.LOCK_EX)  # open until the end
    (folder / "unlocked").rename(folder / "lock")  # which nobody sees before it is locked
    return folder


def hide_token(private: Path) -> None:
    """Make Ray's token readable by its owner alone; Ray itself would let everybody read it.

    It is `~/.ray/auth_token`, or in the folder `private` where there is no home that can be written.
    """
    try:
        write_token(Path.home() / ".ray" / "auth_token")
    except (OSError, RuntimeError):  # a read-only home, or none
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(private / "auth_token")
        write_token(private / "auth_token")


def write_token(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)  # several may start at once
        if os.fstat(file.fileno()).st_size == 0:
            file.write(secrets.token_hex(32))


def refuse_silent_address(address: str, source: str = "--address") -> None:
    """ConfigError unless something accepts connections at host:port; Ray itself would try for minutes.

    `auto` stands for the Ray that runs on this machine. `source` is what gave the address.
    """
    if address.startswith("ray://"):
        raise ConfigError(
            f"{address} ({source}) is Ray's client, through which a study cannot run; give the command on a machine of "
            "the cluster, with --address HOST:PORT of its head, such as 10.0.0.1:6379"
        )
    ways = {"--address": "Leave it out", "RAY_ADDRESS": "Unset RAY_ADDRESS", "ray up": f"Move {BOOTSTRAP_CONFIG} away"}
    found = ray_on_this_machine() if address == "auto" else address
    if found is None or not answers(found, timeout=10.0):
        raise ConfigError(
            f"no Ray cluster answers at {found or 'this machine'} ({source} gave {address}); is it up? `ray status` on "
            f"its head tells. {ways[source]} to start Ray here"
        )
