"""The process group of a trial's workers, on the addresses of their nodes alone; a single worker has none.

Ray's own set-up opens torch's rendezvous store on every interface of the machine, for a single worker too, and whoever
reaches the store can join the group.
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import psutil
import ray
from ray.train.backend import Backend, BackendConfig


@dataclass
class OwnAddressConfig(BackendConfig):
    """torch's backend, nccl or gloo, and how long a worker waits for the others, in seconds."""

    backend: str
    timeout_s: float

    @property
    def backend_cls(self):
        return OwnAddress


class OwnAddress(Backend):
    """Joins the workers over a store on the first one's address. One worker needs no group.

    Nothing is done when the workers end. Ray's own backend destroys the group then, also under workers that still train
    after another one's death; each would take itself for the trial's only worker.
    """

    share_cuda_visible_devices = True  # of a node's workers, as NCCL needs it

    def on_start(self, worker_group, backend_config: OwnAddressConfig) -> None:
        if len(worker_group) == 1:
            return
        address, port = worker_group.execute_single(0, free_port)
        how = (len(worker_group), address, port, backend_config.backend, backend_config.timeout_s)
        ray.get([worker_group.execute_single_async(rank, join, rank, *how) for rank in range(len(worker_group))])


def free_port() -> tuple[str, int]:
    """This node's address, and a port that is free there."""
    address = ray.util.get_node_ip_address()
    with listen(address, 0) as probe:
        return address, probe.getsockname()[1]


def join(rank: int, size: int, address: str, port: int, backend: str, timeout_s: float) -> None:
    """Join the process group of `size` workers; the first one opens its store at address:port."""
    import torch.distributed as dist  # not in Ray Train's controller, which imports this file

    interface = interface_of(ray.util.get_node_ip_address())
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, interface)
    timeout = timedelta(seconds=timeout_s)
    store = dist.TCPStore(
        address,
        port,
        size,
        is_master=rank == 0,
        timeout=timeout,
        wait_for_workers=False,
        master_listen_fd=listen(address, port).detach() if rank == 0 else None,
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)


def interface_of(address: str) -> str:
    """The name of the interface that has this address of the machine.

    Left alone, gloo takes the one that the host's name leads to: on Debian and Ubuntu loopback, where no other host
    can be reached.
    """
    interfaces = psutil.net_if_addrs().items()
    return next(name for name, addresses in interfaces if address in {one.address for one in addresses})


def listen(address: str, port: int) -> socket.socket:
    """A listening socket on this one address, an IPv4 or IPv6 one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)
