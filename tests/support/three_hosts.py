"""Three hosts on one machine: namespaces with their own network, processes, home and /tmp, and an SSH server in each.

What they share is the disk's packages and one folder at /mnt/study, as NFS would give it. `cluster.local.yaml` is
brought up on them by the real `ray up`.

sudo .venv/bin/python tests/support/three_hosts.py     up, a study whose trials have two workers on two hosts, down

Needs Linux, root, and the commands of `COMMANDS` (of Debian's iproute2,
util-linux, openssh-server and rsync).
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("ip", "setpriv", "unshare", "sshd", "ssh", "ssh-keygen", "rsync", "git", "mount")
BRIDGE, SUBNET = "dfu-lab", "10.213.77"
HOSTS = ("lab-head", "lab-one", "lab-two")
HOME = Path.home()
COVERED = (HOME, Path("/tmp"), Path("/mnt"), Path("/run"))  # a host has its own
SSHD = """\
ListenAddress {address}
HostKey {home}/.ssh/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
PidFile none
LogLevel ERROR
"""


def missing_means() -> str | None:
    """Why hosts cannot be made here, or None."""
    missing = [name for name in COMMANDS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if missing:
        return f"no {', '.join(missing)} here"
    allowed = os.geteuid() == 0 and subprocess.run(["unshare", "--net", "--pid", "--fork", "true"]).returncode == 0
    return None if allowed else "namespaces need root"


@dataclass(frozen=True)
class Host:
    """A running host. `process` is the one whose end takes all of the host's processes along."""

    name: str
    address: str
    key: Path
    process: subprocess.Popen

    def ssh(self, command: str, check: bool = True) -> str:
        """What the command, run in a login shell on the host, printed."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        line = ["ssh", "-i", str(self.key), *options, f"root@{self.address}", f"bash -lc {shlex.quote(command)}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 or not check, f"{self.name}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def train_workers(self) -> int:
        return int(self.ssh("pgrep -fc ^ray::.*TrainWorker || true"))

    def cut(self, is_cut: bool = True) -> None:
        """Pull the host's network cable, or put it back."""
        run("ip", "link", "set", link(self.name), "down" if is_cut else "up")

    def kill(self) -> None:
        """End every process of the host at once, as a power cut does."""
        self.process.kill()
        self.process.wait()


@dataclass
class Lab:
    """Three hosts, the folder that they share, and the cluster's file; this process is the lab's client."""

    folder: Path
    hosts: list[Host]

    @property
    def head(self) -> Host:
        return self.hosts[0]

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def cluster_file(self) -> Path:
        return self.folder / "cluster.yaml"

    def ray(self, *words: str, **how) -> subprocess.Popen:
        """Start Ray's command line as the client."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
        environment |= {"HOME": str(self.folder / "client"), "RAY_TMPDIR": str(self.folder / "client")}
        command = [str(Path(sys.executable).with_name("ray")), *words]
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **how)

    def up(self, num_nodes: int = len(HOSTS)) -> None:
        """`ray up`, then wait for the workers, which the head starts by itself."""
        self.finish(self.ray("up", "--yes", "--no-config-cache", str(self.cluster_file), **PIPED))
        self.wait_for_nodes(num_nodes)

    def down(self) -> None:
        self.finish(self.ray("down", "--yes", str(self.cluster_file), **PIPED))

    def sweep(self, *words: str) -> subprocess.Popen:
        """Start the main command on the head."""
        return self.command("study/run_sweep.py", *words)

    def command(self, *words: str) -> subprocess.Popen:
        """Start a command of the project on the head, from its copy of the code, with the shared folder."""
        command = shlex.join(["python", *words, "--out", "/mnt/study/runs"])
        return self.ray("exec", str(self.cluster_file), f"cd ~/dfu-gan-study && {command}", **PIPED)

    def finish(self, process: subprocess.Popen, timeout: float = 1200) -> str:
        """What the process printed until its end, which must be a good one."""
        printed, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, printed
        return printed

    def wait_for_nodes(self, number: int, timeout: float = 300) -> None:
        """Wait until the head knows exactly so many living nodes."""
        count = "import ray; ray.init('auto', logging_level=40); alive = lambda: sum(n['Alive'] for n in ray.nodes())"
        wait = f"import time\nwhile alive() != {number}: time.sleep(0.5)"
        self.head.ssh(f"timeout {timeout:g} python -c {shlex.quote(f'{count}{chr(10)}{wait}')}")

    def reboot(self, host: Host) -> Host:
        """Start a killed host again: its disk is as it was, nothing runs on it."""
        number = self.hosts.index(host)
        self.hosts[number] = replace(host, process=boot(self.folder, host.name, number))
        wait_until(lambda: answers(self.hosts[number]), 30, f"{host.name} does not come up again")
        return self.hosts[number]


PIPED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """Three hosts that end with the context, whatever happens in it."""
    make_disks(folder)
    write_cluster_file(folder)
    with ExitStack() as cleanup:
        cleanup.callback(subprocess.run, ["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL)
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{SUBNET}.254/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(HOSTS):
            cleanup.callback(subprocess.run, ["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
            cleanup.callback(subprocess.run, ["ip", "link", "delete", link(name)], stderr=subprocess.DEVNULL)
            connect(name, address(number))
        key = folder / "client/.ssh/key"
        made = Lab(folder, [])
        cleanup.callback(lambda: [host.kill() for host in made.hosts])
        for number, name in enumerate(HOSTS):
            made.hosts.append(Host(name, address(number), key, boot(folder, name, number)))
        for host in made.hosts:
            wait_until(lambda host=host: answers(host), 30, f"{host.name} does not come up")
        yield made


def address(number: int) -> str:
    return f"{SUBNET}.{number + 1}"


def link(name: str) -> str:
    """The bridge's end of a host's cable."""
    return f"{name}-link"


def connect(name: str, host_address: str) -> None:
    """Make a network namespace and join it to the bridge."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", link(name), "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", link(name), "master", BRIDGE, "up")
    for words in (f"address add {host_address}/24 dev eth0", "link set eth0 up", "link set lo up"):
        run("ip", "-n", name, *words.split())
    run("ip", "-n", name, "route", "add", "default", "via", f"{SUBNET}.254")  # by which Ray finds the host's address


def make_disks(folder: Path) -> None:
    """A home and a /tmp for each host, the client's home with its key and token, and the shared folder."""
    for name in ("client/.ssh", "client/.ray", "shared"):
        (folder / name).mkdir(parents=True)
    key, token = folder / "client/.ssh/key", folder / "client/.ray/auth_token"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    token.write_text(os.urandom(32).hex(), encoding="utf-8")
    token.chmod(0o600)
    for number, name in enumerate(HOSTS):
        home, ssh = folder / name / "home", folder / name / "home/.ssh"
        ssh.mkdir(parents=True, mode=0o700)
        home.chmod(0o700)
        (folder / name / "tmp").mkdir(mode=0o1777)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "host_key"))
        shutil.copy(key.with_suffix(".pub"), ssh / "authorized_keys")
        (home / ".profile").write_text(". ~/.bashrc\n", encoding="utf-8")
        (home / ".bashrc").touch()
        (folder / name / "sshd_config").write_text(SSHD.format(address=address(number), home=HOME), encoding="utf-8")
        # As Debian and Ubuntu have it: a host takes its own name for a loopback address.
        (folder / name / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n", encoding="utf-8")


def write_cluster_file(folder: Path) -> None:
    """`cluster.local.yaml` for these hosts: addresses, key, one CPU each, and the packages that are installed here."""
    config = yaml.safe_load((ROOT / "cluster.local.yaml").read_text(encoding="utf-8"))
    config["provider"] |= {"head_ip": address(0), "worker_ips": [address(number) for number in range(1, len(HOSTS))]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "client/.ssh/key")}
    installs = [command for command in config["setup_commands"] if "~/venv" in command]
    assert len(installs) == 3, "the commands that make the environment and fill it"
    others = [command for command in config["setup_commands"] if command not in installs]
    path = "echo 'export PYTHONPATH=$HOME/dfu-gan-study' >> ~/.bashrc"
    config["setup_commands"] = [f"ln -sfn {sys.prefix} ~/venv", *others, path]
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        # A host sees the whole machine's memory, and would end its trials where others fill that.
        start = f"export RAY_memory_monitor_refresh_ms=0; {config[name][-1]}"
        config[name][-1] = f"{start} --num-cpus=1 --object-store-memory=80000000"
    (folder / "cluster.yaml").write_text(yaml.safe_dump(config, sort_keys=False, width=1000), encoding="utf-8")


def boot(folder: Path, name: str, number: int) -> subprocess.Popen:
    """Start a host: its namespaces, its disks, its SSH server."""
    needed = [Path(path) for path in (ROOT, sys.prefix, sys.base_prefix)]
    hidden = [path for path in needed if any(path.is_relative_to(cover) for cover in COVERED)]
    keep = [f"mkdir -p /run/keep/{n}; mount --bind {path} /run/keep/{n}" for n, path in enumerate(hidden)]
    show = [f"mkdir -p {path}; mount --bind /run/keep/{n} {path}" for n, path in enumerate(hidden)]
    disk = folder / name
    script = [
        "set -e; mount --make-rprivate /; mount -t proc proc /proc; mount -t tmpfs tmpfs /run",
        f"hostname {name}; mount --bind {disk}/hosts /etc/hosts",
        "mount -t tmpfs tmpfs /mnt; mkdir /mnt/study /run/sshd",
        f"cp {disk}/sshd_config /run/sshd_config; mount --bind {folder}/shared /mnt/study",
        *keep,
        f"mkdir /run/home /run/tmp; mount --bind {disk}/home /run/home; mount --bind {disk}/tmp /run/tmp",
        f"mount --bind /run/home {HOME}; mount --bind /run/tmp /tmp",
        *show,
        "$(PATH=$PATH:/usr/sbin command -v sshd) -D -e -f /run/sshd_config & wait",
    ]
    inside = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    inside += ["bash", "-c", "\n".join(script)]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(HOME)}
    leash = ["setpriv", "--pdeathsig", "KILL"]  # a host does not outlive this process
    return subprocess.Popen([*leash, "ip", "netns", "exec", name, *inside], env=environment, cwd="/")


def answers(host: Host) -> bool:
    assert host.process.poll() is None, f"{host.name} has ended"
    return "up" in host.ssh("echo up", check=False)


def left_behind() -> list[str]:
    """Namespaces, links and processes of hosts that should have ended."""
    kinds = (("ip", "netns", "list"), ("ip", "-br", "link"))
    named = [line for words in kinds for line in run(*words).splitlines() if line.startswith((*HOSTS, BRIDGE))]
    processes = []
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{SUBNET}." in (status.parent / "cmdline").read_text(encoding="utf-8"):
                processes.append((status.parent / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return named + processes


def wait_until(holds: Callable[[], bool], timeout: float, complaint: str) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.3)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Bring the cluster up, ask the doctor, run a small study across it, take it down; say how long each took."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if reason := missing_means():
        sys.exit(f"three hosts cannot be made here: {reason}")
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as hosts:
        say(f"{len(HOSTS)} hosts: {', '.join(HOSTS)}")
        hosts.up()
        say("ray up: all have joined")
        print(hosts.finish(hosts.command("study/doctor.py")))
        small = ("gan_epochs=2", "gan_eval_interval=1", "eval_images=16", "critic_steps=1", "classifier_epochs=1")
        settings = [word for assignment in small for word in ("--set", assignment)]
        print(hosts.finish(hosts.sweep("--preset", "smoke", "--trials", "2", "--workers-per-trial", "2", *settings)))
        say("the study has ended")
        hosts.down()
        say("ray down")
    wait_until(lambda: not left_behind(), 60, "something is left behind")
    say("nothing is left")


if __name__ == "__main__":
    main()
