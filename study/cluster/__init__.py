"""Ray: joining or starting it, trials in its processes, checks of its nodes.

Ray reads its settings when it is imported, so they are made here, before any file of this room imports it.
"""

import os

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_worker_register_timeout_seconds": "300",  # on a busy machine Ray would kill its processes while they start
    "RAY_worker_maximum_startup_concurrency": "16",  # a slot is five processes; below this Ray warns of them
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the real-only baseline reports no Frechet distance
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are not used
    # Nor are its logs. TensorBoard's writer is waited for without end where its thread has died, of a full disk say.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is heard here
    "RAY_AIR_NEW_OUTPUT": "0",  # progress is printed by the bridge, a line an event
    # Ray is to need little of the CPUs: no process a CPU that waits for tasks, since there are none after the first
    # questions; no metrics, which nothing reads; no search for new logs ten times a second, which are not sent here.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_num_workers_soft_limit": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "60",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process a slot; `study.training.preemption` hears of it sooner
}
LEFT_OVER = ("RAY_TRAIN_", "RAY_AIR_", "RAY_NAMESPACE", "RAY_JOB_CONFIG", "RAY_RUNTIME_ENV", "TUNE_")

if "RAY_RAYLET_PID" not in os.environ:  # not in Ray's own processes, whose variables Ray has set
    for name in [name for name in os.environ if name.startswith(LEFT_OVER)]:
        del os.environ[name]  # of other programs: they would change what Train and Tune do
os.environ |= SETTINGS
