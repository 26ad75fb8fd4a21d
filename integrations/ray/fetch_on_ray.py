"""Makes the shards of a plan on a Ray cluster.

    python fetch_on_ray.py PLAN [--sightline sightline] [--shards-per-task 4] [--retries 5]

PLAN is what `sightline fetch plan` wrote, on a file system that all nodes share. Each task starts the program for a few
shards; Ray sends tasks to nodes that are free and, when a node dies, again to another one. A shard that is done is passed
over, so a task that is repeated costs little. Ends with 0 when every shard is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import ray


class Busy(Exception):
    """Some shards of a task are in the hands of another worker, which may be dead."""


def ranges(first: int, last: int) -> str:
    """Numbers of shards as the program takes them."""
    return f"{first}-{last}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes the shards of a plan on a Ray cluster.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--sightline", default="sightline", help="the program, on every node")
    parser.add_argument("--shards-per-task", type=int, default=4)
    parser.add_argument("--cpus-per-task", type=float, default=1.0)
    parser.add_argument("--retries", type=int, default=5, help="how often a task that failed is tried again")
    parser.add_argument("--address", default=None, help="of the cluster (default: RAY_ADDRESS, else a new one)")
    arguments = parser.parse_args()
    file = arguments.plan / "fetch-plan.json" if arguments.plan.is_dir() else arguments.plan
    shards = len(json.loads(file.read_text(encoding="utf-8"))["shards"])

    ray.init(address=arguments.address, ignore_reinit_error=True)

    # A node that dies is a system failure, which Ray repeats by itself; the rest is told by exceptions.
    @ray.remote(num_cpus=arguments.cpus_per_task, max_retries=arguments.retries, retry_exceptions=True)
    def make(first: int, last: int) -> dict[str, int]:
        command = [arguments.sightline, "fetch", "work", str(file), f"--shards={ranges(first, last)}", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with status {done.returncode}:\n{done.stderr[-4000:]}")
        summary: dict[str, int] = json.loads(done.stdout)
        if summary["shards_elsewhere"]:
            import time

            # Longer than a dead worker's lease lasts.
            time.sleep(35)
            raise Busy(f"{summary['shards_elsewhere']} shards of {first} to {last} are made by another worker")
        return {name: summary[name] for name in ("rows", "successes", "failed_to_download", "failed_to_resize")}

    step = arguments.shards_per_task
    waiting = [make.remote(first, min(first + step, shards) - 1) for first in range(0, shards, step)]
    total: dict[str, int] = {}
    failed = 0
    tasks = len(waiting)
    while waiting:
        done, waiting = ray.wait(waiting)
        for task in done:
            try:
                for name, count in ray.get(task).items():
                    total[name] = total.get(name, 0) + count
            except ray.exceptions.RayError as error:
                failed += 1
                print(error, file=sys.stderr)
        print(f"{tasks - len(waiting)} of {tasks} tasks, {total.get('rows', 0)} rows", file=sys.stderr)
    if failed:
        print(f"{failed} of {tasks} tasks failed; run the same command again", file=sys.stderr)
        return 1
    return subprocess.run([arguments.sightline, "fetch", "finish", str(file)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
