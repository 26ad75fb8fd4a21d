"""Runs the parts of a suite on a Ray cluster and merges them.

    python run_on_ray.py SUITE --parts 8 [--sightline sightline] [--retries 5] -- --data /data --records /records

What stands behind `--` is given to `sightline run` and `sightline merge` alike: all nodes must see the suite, the data and the
records folder under the same paths. A part that is repeated goes on where it was. Ends as `sightline merge` does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import ray

# Parts that ended so are whole: done, or done with samples that failed, which the merged record counts.
WHOLE = (0, 3)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the parts of a suite on a Ray cluster and merges them.")
    parser.add_argument("suite")
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--sightline", default="sightline", help="the program, on every node")
    parser.add_argument("--cpus-per-task", type=float, default=1.0)
    parser.add_argument("--gpus-per-task", type=float, default=0.0)
    parser.add_argument("--retries", type=int, default=5, help="how often a part that failed is tried again")
    parser.add_argument("--address", default=None, help="of the cluster (default: RAY_ADDRESS, else a new one)")
    # `argparse.REMAINDER` would take the options that stand behind SUITE, too.
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end])
    shared = [arguments.suite, *words[end + 1 :]]

    ray.init(address=arguments.address, ignore_reinit_error=True)

    @ray.remote(
        num_cpus=arguments.cpus_per_task,
        num_gpus=arguments.gpus_per_task,
        max_retries=arguments.retries,
        retry_exceptions=True,
    )
    def run(part: int) -> int:
        command = [arguments.sightline, "run", *shared, f"--part={part}/{arguments.parts}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in WHOLE:
            raise RuntimeError(f"`{' '.join(command)}` ended with status {done.returncode}:\n{done.stderr[-4000:]}")
        return part

    waiting = [run.remote(part) for part in range(1, arguments.parts + 1)]
    failed = 0
    while waiting:
        done, waiting = ray.wait(waiting)
        for task in done:
            try:
                print(f"part {ray.get(task)} of {arguments.parts} is done", file=sys.stderr)
            except ray.exceptions.RayError as error:
                failed += 1
                print(error, file=sys.stderr)
    if failed:
        print(f"{failed} of {arguments.parts} parts failed; run the same command again", file=sys.stderr)
        return 1
    return subprocess.run([arguments.sightline, "merge", *shared], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
