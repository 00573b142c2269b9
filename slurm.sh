#!/usr/bin/env bash
#SBATCH --job-name=dfu-study
#SBATCH --nodes=2                    # EDIT: machines
#SBATCH --ntasks-per-node=1          # one Ray on each
#SBATCH --gpus-per-node=1            # EDIT: or none
#SBATCH --exclusive                  # `ray symmetric-run` wants no other Ray on its nodes, and ends all of the user's
#SBATCH --time=12:00:00              # EDIT; trials that are cut off go on from their checkpoints with --resume
#SBATCH --output=dfu-study-%j.log
#
# Runs a command of the study on the nodes of a Slurm job, from the repository's folder, whose .venv all nodes see:
#
#   sbatch slurm.sh sweep --data /shared/photographs --out /shared/runs --preset search --set precision=bfloat16
#   sbatch slurm.sh sweep --data /shared/photographs --out /shared/runs --resume
#   sbatch slurm.sh confirm /shared/runs/STUDY --top 3 --seeds 5
#
# `ray symmetric-run` starts Ray on every node, runs the command on the first, and ends Ray. docs/cluster.md has more.
# Not run on Slurm: tests/test_containers.py lints it and runs it with a stand-in for `srun`.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: give a command of the study, such as: sbatch slurm.sh sweep --data PATH --out PATH" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}"
# shellcheck source=/dev/null
. .venv/bin/activate

# Ray's processes demand a token that only this user can read; the home is shared, or the file is copied to each node.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
(umask 077 && mkdir -p ~/.ray && ray get-auth-token --generate > /dev/null)
chmod 600 ~/.ray/auth_token

# No two jobs of a user have one port, and nobody has Ray's default one. Ray's other ports are free ones.
port=$((20000 + SLURM_JOB_ID % 20000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
addresses=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | tr ' ' '\n')
address=$(grep -E '^[0-9.]+$' <<< "$addresses" | sed -n 1p || true)  # IPv4
if [ -z "$address" ]; then
    echo "error: $head has no IPv4 address besides loopback; \`hostname -I\` says: $addresses" >&2
    exit 1
fi
export RAY_ADDRESS="$address:$port" RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # s, for nodes that read .venv slowly

ulimit -n 65536 || true
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_ON_NODE" \
    ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_ON_NODE" --disable-usage-stats -- dfu-study "$@"
