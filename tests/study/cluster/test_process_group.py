"""A trial's process group, as far as it goes without Ray; the command's tests join real workers."""

import torch.distributed as dist

from study.cluster.process_group import OwnAddress, OwnAddressConfig


def test_the_group_outlives_the_death_of_a_worker(tmp_path):
    """Else the others would go on as if each were alone, until Ray ends them."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        OwnAddress().on_shutdown(None, OwnAddressConfig())
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()
