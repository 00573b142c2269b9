"""Every use of Ray's private interfaces, which may change with any version of Ray; no other file reaches for one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ray
from ray._private import ray_constants, services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.state import state
from ray.core.generated.gcs_pb2 import ActorTableData, JobTableData, PlacementGroupTableData
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.result import Result
from ray.util.placement_group import PlacementGroup, remove_placement_group

# Asks the cluster for the names of what it stores, as a driver does first.
STRANGER = "import sys; from ray._raylet import GcsClient; GcsClient(sys.argv[1]).internal_kv_keys(b'', timeout=9)"


def use_token_if_there_is_one() -> None:
    """Join a cluster with the user's token, as `ray start` does and `ray.init` does not."""
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def ray_on_this_machine() -> str | None:
    """host:port of the Ray that `auto` means: the last one started on this machine that still runs, if any."""
    return next(iter(services.find_gcs_addresses()), None)


def stay_on_loopback() -> None:
    """Let Ray in this process, which has read the environment already, take 127.0.0.1 for this machine's address."""
    ray_constants.ENABLE_RAY_CLUSTER = False


def session_folder(path: Path) -> dict:
    """The option of `ray.init` that names the folder of Ray's own files."""
    return {"_temp_dir": str(path)}


def started_here() -> bool:
    """Whether this process has started Ray, rather than joined one."""
    return ray.get_runtime_context().worker.node.is_head()


class FixedWorkers(FixedScalingPolicy):
    """As many workers as configured. The autoscaler is not asked for them: it sees the placement group that waits."""

    def _maybe_send_resource_request(self) -> None:
        pass

    _send_resource_request = _cancel_resource_request = _maybe_send_resource_request


class LeanTrainer(DataParallelTrainer):
    """Ray Train's trainer without three helpers, processes of 120 MB: for each run one for data sets of Ray, and one
    that asks the dashboard every second whether the controller lives, to free its workers, as `free_orphans` does; for
    all runs one that tells the autoscaler every 20 s what they need.

    Unlike `TorchTrainer` it does not import torch, which no process of a run needs but the workers.
    """

    def _initialize_and_run_controller(self, **arguments) -> Result:
        arguments["scaling_policy"] = FixedWorkers(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)

    def _create_default_callbacks(self) -> list:
        left_out = DatasetsCallback, PlacementGroupCleanerCallback
        return [one for one in super()._create_default_callbacks() if not isinstance(one, left_out)]


def token_is_demanded() -> bool:
    """Whether Ray's head refuses to tell a process without a token what it stores, as it tells a driver first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", STRANGER, ray.get_runtime_context().gcs_address]
        return subprocess.run(command, env=environment | {"HOME": home}, capture_output=True).returncode != 0


def free_orphans() -> None:
    """Remove the placement groups that were left behind: their creator is dead, an actor of this job or of a dead one.

    Ray removes a group when it hears that its creator and its job have died. A controller of Ray Train that is told to
    die may still reserve one; Ray then marks it with neither death, and holds its CPUs and GPUs for ever. Seen after 10
    of 12 killed jobs whose actors reserved all the time. A group that was made to outlive its job is left alone, and so
    is one whose creator lives on without it.
    """
    accessor = state._connect_and_get_accessor()
    over = {job.job_id for job in map(JobTableData.FromString, accessor.get_job_table()) if job.is_dead}
    own = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for serialised in accessor.get_placement_group_table():
        group = PlacementGroupTableData.FromString(serialised)
        if group.state == PlacementGroupTableData.REMOVED or group.is_detached:
            continue
        creator = ray.ActorID(group.creator_actor_id)
        by_an_actor = not creator.is_nil()  # what Tune holds was made by the job itself
        is_over = group.creator_job_id in over or (by_an_actor and group.creator_job_id == own)
        if is_over and not (by_an_actor and is_alive(accessor.get_actor_info(creator))):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def is_alive(serialised_actor: bytes | None) -> bool:
    return serialised_actor is not None and ActorTableData.FromString(serialised_actor).state != ActorTableData.DEAD
