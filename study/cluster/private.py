"""Every use of Ray's private interfaces, which may change with any version of Ray; no other file reaches for one."""

from pathlib import Path

import ray
from ray._private import ray_constants, services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


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


def dashboard_url() -> str:
    """Host and port of the dashboard."""
    return ray.get_runtime_context().worker.node.webui_url.removeprefix("http://")


def started_here() -> bool:
    """Whether this process has started Ray, rather than joined one."""
    return ray.get_runtime_context().worker.node.is_head()


def free_orphans() -> None:
    """Remove the placement groups of this job whose creator, the controller of a trial, is dead.

    Its workers died with it. A helper of Ray Train should free the CPUs and GPUs of a stopped trial, but under load it
    was seen to leave some held; on a small machine the next trial would then wait for ever. Groups that Tune holds
    were made by the job itself, not by an actor.
    """
    job = ray.get_runtime_context().get_job_id()
    for serialised in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(serialised)
        made_by_a_dead_actor = not ray.ActorID(group.creator_actor_id).is_nil() and group.creator_actor_dead
        is_held = group.creator_job_id.hex() == job and group.state != PlacementGroupTableData.REMOVED
        if made_by_a_dead_actor and is_held:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
