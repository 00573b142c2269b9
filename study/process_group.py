"""The process group of a trial's workers: on the address of their node alone, and none for a single worker.

Ray's own set-up opens torch's rendezvous store on every interface of the machine, for a single worker too, and whoever
reaches the store can join the group.
"""

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend


@dataclass
class OwnAddressConfig(TorchConfig):
    """Ray Train's `TorchConfig` with `OwnAddress` as its backend; `init_method` has no meaning."""

    @property
    def backend_cls(self):
        return OwnAddress


class OwnAddress(_TorchBackend):
    """Joins the workers over a store on the first one's address. `study.parallel` needs no group for one worker."""

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
    if ipaddress.ip_address(address).is_loopback:  # else gloo and NCCL take the interface of the host's name
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
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


def listen(address: str, port: int) -> socket.socket:
    """A listening socket on this one address, an IPv4 or IPv6 one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)
