"""The process group of a trial's workers, joined by two processes without Ray."""

import multiprocessing

import psutil
import torch
import torch.distributed as dist

from study.cluster.facts import listeners
from study.cluster.slots import process_group


def sum_over_workers(rank: int, address: str, port: int, found) -> None:
    """A worker: joins, adds up 1 and 2, and tells the addresses that it listens on, and whether it is still joined."""
    process_group.join(rank, 2, address, port, "gloo", 60)
    total = torch.tensor(rank + 1)
    dist.all_reduce(total)
    addresses = {one.address for one in listeners([psutil.Process()])}
    process_group.OwnAddress().on_shutdown(None, process_group.OwnAddressConfig("gloo", 60))  # another worker has died
    found.put((total.item(), addresses, dist.is_initialized()))
    dist.barrier()


def test_workers_meet_on_one_address_only(monkeypatch):
    address = "127.0.0.1"
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: address)
    _, port = process_group.free_port()
    fork = multiprocessing.get_context("fork")
    found = fork.Queue()
    workers = [fork.Process(target=sum_over_workers, args=(rank, address, port, found)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    told = [found.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert [total for total, *_ in told] == [3, 3] and set.union(*(addresses for _, addresses, _ in told)) == {address}
    assert all(is_joined for *_, is_joined in told), "else each would go on as a trial's only worker"
    assert [worker.exitcode for worker in workers] == [0, 0]
