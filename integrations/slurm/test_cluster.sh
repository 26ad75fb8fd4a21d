#!/usr/bin/env bash
# Runs fetch.sbatch on a Slurm cluster of two nodes on this machine: slurmctld and two slurmd on loopback, in a folder of
# their own. Kills a node's daemon and its task half-way; the task is requeued on the other node. The shards must be, byte
# for byte, those of one run on one machine. Then runs the parts of a suite by run.sbatch.
#
#     test_cluster.sh target/release/sightline
#
# Needs root and the programs of Slurm (Debian: apt-get install slurm-wlm munge). Ends with 0 if the shards are right.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sightline=$(realpath "$1")
rows=${ROWS:-1500}

for program in slurmctld slurmd sbatch scontrol munged; do
    command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || {
        echo "$program is not on PATH; install Slurm (Debian: apt-get install slurm-wlm munge)" >&2
        exit 1
    }
done
[ "$(id -u)" = 0 ] || {
    echo "slurmd has to be started by root" >&2
    exit 1
}
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Who may speak to whom: a key of our own, so that a munged of the system is left alone.
mkdir -p "$work"/{munge,state,spool-n1,spool-n2}
chmod 0755 "$work" && chmod 0700 "$work/munge"
head -c 1024 /dev/urandom >"$work/munge/key"
chmod 0400 "$work/munge/key"
munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge.socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" 2>"$work/munged.log" &
pids+=($!)

host=$(hostname)
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(port)
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
MpiDefault=none
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=$host Port=$(port) CPUs=2 RealMemory=4000
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname=$host Port=$(port) CPUs=2 RealMemory=4000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -D >"$work/slurmctld.log" 2>&1 &
pids+=($!)
for node in n1 n2; do
    slurmd -D -N "$node" >"$work/$node.log" 2>&1 &
    pids+=($!)
    eval "$node=$!"
done
for _ in $(seq 150); do
    [ "$(sinfo --noheader --format=%t --Node 2>/dev/null | sort | uniq -c | tr -s ' ')" = " 2 idle" ] && break
    sleep 0.2
done
sinfo --Node >&2 || {
    cat "$work"/*.log >&2
    exit 1
}

# The table, the plan, and what one machine makes of it.
"$sightline" synth scenes --out "$work/scenes" --train "$rows" --val 1 --test 1 >/dev/null
"${sightline%/*}/sightline-test-server" --root "$work/scenes" --port 0 >"$work/server.log" 2>&1 &
pids+=($!)
until grep -q "http://" "$work/server.log"; do sleep 0.05; done
base=$(grep -o 'http://[0-9.:]*' "$work/server.log" | head -1)
sed "s|http://127.0.0.1:8000|$base|" "$work/scenes/urls/train.csv" >"$work/urls.csv"
options=(--caption-col=caption --image-size=64 --number-sample-per-shard=25 --allow-private-addresses --thread-count=4)
"$sightline" fetch "$work/urls.csv" --out "$work/alone" "${options[@]}" >/dev/null
"$sightline" fetch plan "$work/urls.csv" --out "$work/shared" "${options[@]}" >/dev/null

SIGHTLINE=$sightline sbatch --export=ALL --array=0-7 --cpus-per-task=1 --mem=500M --wait \
    --output="$work/task-%a.log" "$here/fetch.sbatch" "$work/shared" &
batch=$!
done_shards() { find "$work/shared" -name '*_stats.json' | wc -l; }
until [ "$(done_shards)" -ge 8 ]; do
    kill -0 "$batch" 2>/dev/null || break
    sleep 0.05
done
killed_at=$(done_shards)
# A node goes down as machines do: its daemon and all that it started at once.
pkill -9 -f "slurmstepd: .*n1" 2>/dev/null || true
pkill -9 -P "$n1" 2>/dev/null || true
kill -9 "$n1"
scontrol update NodeName=n1 State=DOWN Reason=test
wait "$batch" || true

# A task whose node died may have been told to leave its lease; whoever comes last makes the rest.
for _ in $(seq 8); do
    "$sightline" fetch work "$work/shared" >/dev/null
    "$sightline" fetch status "$work/shared" >/dev/null && break
    sleep 5
done
"$sightline" fetch finish "$work/shared" >/dev/null
shards=0
for file in "$work"/alone/*.tar "$work"/alone/*.parquet; do
    cmp --silent "$file" "$work/shared/${file##*/}" || {
        echo "${file##*/} is not what one machine makes" >&2
        exit 1
    }
    shards=$((shards + 1))
done
[ "$killed_at" -lt $((shards / 2)) ] || {
    echo "every shard was done before a node went down; the test shows nothing" >&2
    exit 1
}
echo "$((shards / 2)) shards, the same bytes as on one machine; one of two nodes went down after $killed_at"

# The parts of a suite, on the node that is left: merged, they predict what one machine predicts.
suite=$here/../../manifests/suites/scenes-tasks.toml
"$sightline" synth scenes --out "$work/data/scenes" --train 0 --val 0 --test 200 >/dev/null
"$sightline" run "$suite" --data "$work/data" --records "$work/one" >/dev/null
SIGHTLINE=$sightline sbatch --export=ALL --array=1-4 --cpus-per-task=1 --mem=500M --wait \
    --output="$work/part-%a.log" "$here/run.sbatch" "$suite" --data "$work/data" --records "$work/parts" || {
    cat "$work"/part-*.log >&2
    exit 1
}
"$sightline" merge "$suite" --data "$work/data" --records "$work/parts" >/dev/null
predictions() { cd "$1" && find . -name '*.jsonl' -path '*predictions*' ! -name '*-of-*' -exec sha256sum {} + | sort -k 2; }
one=$(predictions "$work/one")
[ -n "$one" ] && [ "$one" = "$(predictions "$work/parts")" ] || {
    printf 'the predictions differ:\n%s\n%s\n' "$one" "$(predictions "$work/parts")" >&2
    exit 1
}
echo "$(wc -l <<<"$one") files of predictions in 4 parts, the same bytes as on one machine"
