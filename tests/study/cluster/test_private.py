"""What is left out of Ray's own processes. `tests/faults/test_driver.py` has the placement groups that are freed."""

import pytest
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from study.cluster.private import LeanTrainer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data's own defaults
def test_a_run_of_ray_train_lacks_the_two_helpers_that_are_processes_and_no_other_callback():
    """Of Ray's version that is pinned."""
    names = [
        {type(callback).__name__ for callback in trainer(lambda: None)._create_default_callbacks()}
        for trainer in (DataParallelTrainer, LeanTrainer)
    ]
    assert names[0] - names[1] == {"DatasetsCallback", "PlacementGroupCleanerCallback"} and names[1] < names[0]
