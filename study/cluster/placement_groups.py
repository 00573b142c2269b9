"""What trials that have ended still hold of the cluster.

The CPUs and GPUs of a stopped trial are freed by a helper of Ray Train, which under load was seen to leave some held;
on a small machine the next trial would then wait for ever.
"""

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def free_orphans() -> None:
    """Remove the placement groups of this job whose creator, the controller of a trial, is dead.

    Its workers died with it. Groups that Tune holds were made by the job itself, not by an actor.
    """
    job = ray.get_runtime_context().get_job_id()
    groups = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    orphans = [
        group.placement_group_id
        for group in groups
        if not ray.ActorID(group.creator_actor_id).is_nil()
        and group.creator_actor_dead
        and group.creator_job_id.hex() == job
        and group.state != PlacementGroupTableData.REMOVED
    ]
    for orphan in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(orphan)))
