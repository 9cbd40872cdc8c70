#!/usr/bin/env bash
# Run a manifest on the nodes of a SLURM job:
#   sbatch --nodes 4 pipelines/slurm.sh MANIFEST [options of depthforge synthesize]
# The first node holds Ray's head and the driver, the others join it. Ends with depthforge's exit code. Two minutes before
# the time limit depthforge is stopped; submit the same command again and it goes on where it stopped. After a preemption
# or a lost node SLURM does that itself (--requeue). `depthforge` is on PATH here, and lies, as data and outputs do, where
# every node finds it under the same path. HEAD_IP overrides the first node's address.
#SBATCH --job-name=depthforge
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=depthforge-%j.log
set -euo pipefail

manifest=${1:?usage: sbatch pipelines/slurm.sh MANIFEST [options of depthforge synthesize]}
shift
: "${SLURM_JOB_ID:?runs inside a SLURM job: sbatch pipelines/slurm.sh MANIFEST}"
num_nodes=${SLURM_JOB_NUM_NODES:-1}

# One thread for each worker, of which there is one per core.
export OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
# Other users reach the head's port: only this job's processes know its token.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
# Two jobs on one machine share neither folder nor port; Ray's workers take 10002-19999. A longer path would not leave
# room for the names of Ray's sockets.
folder=/tmp/depthforge-$SLURM_JOB_ID
port=$((20000 + SLURM_JOB_ID % 10000))

# Steps share the job's cores with each other; without --cpu-bind=none each would be held to one of them.
step=(srun --overlap --cpu-bind=none --ntasks-per-node=1)
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
on_head=("${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head")
ip=${HEAD_IP:-$("${on_head[@]}" hostname --ip-address | awk '{print $1}')}
if [[ $num_nodes -gt 1 && $ip == 127.* ]]; then
  echo "error: $head calls itself $ip, where no other node finds it; set HEAD_IP to its address" >&2
  exit 5
fi
address=$ip:$port

steps=() driver='' signalled=''
stop_cluster() {
  if [ "${#steps[@]}" -gt 0 ]; then kill -TERM "${steps[@]}" 2>/dev/null || true; fi
  wait || true
  steps=()
}
# shellcheck disable=SC2329
forward() {
  signalled=yes
  echo "stopping: the same command goes on where this one stops" >&2
  if [ -z "$driver" ]; then exit 143; fi
  kill -TERM "$driver" 2>/dev/null || true
}
trap 'stop_cluster' EXIT
trap 'forward' TERM INT

# Not the cores of the machine but those that SLURM gives on it, which only the node itself knows.
# shellcheck disable=SC2016
start='exec ray start --block --disable-usage-stats --num-cpus="${SLURM_CPUS_ON_NODE:-$(nproc)}" "$@"'
"${on_head[@]}" bash -c "$start" start --head --include-dashboard=false --node-ip-address="$ip" --port="$port" \
  --temp-dir="$folder" >&2 &
steps+=($!)
for attempt in {1..60}; do
  if ray health-check --address "$address" >/dev/null 2>&1; then break; fi
  if [ "$attempt" -eq 60 ] || ! kill -0 "${steps[0]}" 2>/dev/null; then
    echo "error: Ray's head does not answer at $address; its logs lie in $folder on $head" >&2
    exit 5
  fi
  sleep 1
done
if [ "$num_nodes" -gt 1 ]; then
  others=$((num_nodes - 1))
  "${step[@]}" --nodes="$others" --ntasks="$others" --exclude="$head" \
    bash -c "$start" start --address="$address" --temp-dir="$folder" >&2 &
  steps+=($!)
fi

depthforge synthesize "$manifest" --address "$address" "$@" &
driver=$!
code=0
wait "$driver" || code=$?
# A signal ends `wait` before the driver has ended.
while [ -n "$signalled" ]; do
  code=0 signalled=''
  wait "$driver" || code=$?
done
stop_cluster
# Ray's logs are worth keeping only where something went wrong.
if [ "$code" -eq 0 ]; then "${step[@]}" --nodes="$num_nodes" --ntasks="$num_nodes" rm -rf "$folder"; fi
exit "$code"
