"""Runs run_on_ray.py on a cluster of two nodes on this machine and kills one of them when the first part is done.

    test_suite.py --sightline target/release/sightline

The merged records must have the predictions and scores of a run on one machine. Ends with 0 if they do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = HERE.parents[1] / "manifests" / "suites" / "scenes-tasks.toml"
PARTS = 8


def outcome(records: Path) -> dict[str, list]:
    """What each model of the suite predicted and scored."""
    found = {}
    for path in records.glob("scenes-tasks/*/*.json"):
        tasks = json.loads(path.read_text())["tasks"]
        found[path.parent.name] = [
            (task["task"], task["predictions"]["sha256"], [(score["metric"], score["value"]) for score in task["scores"]])
            for task in tasks
        ]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tests run_on_ray.py on a cluster of two nodes.")
    parser.add_argument("--sightline", type=Path, required=True)
    program = parser.parse_args().sightline.resolve()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        data, alone, merged = (Path(folder) / name for name in ("data", "alone", "merged"))
        synth = [program, "synth", "scenes", "--out", data / "scenes", "--train", "0", "--val", "0", "--test", "300"]
        subprocess.run(synth, check=True)
        subprocess.run([program, "run", SUITE, "--data", data, "--records", alone], check=True)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            driver = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "run_on_ray.py"),
                    str(SUITE),
                    f"--parts={PARTS}",
                    f"--sightline={program}",
                    f"--address={cluster.address}",
                    "--",
                    f"--data={data}",
                    f"--records={merged}",
                ],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert driver.stderr is not None
            done = 0
            for line in driver.stderr:
                sys.stderr.write(line)
                done += "is done" in line
                if done == 1 and nodes:
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
                    nodes.clear()
                    print("killed a node", flush=True)
            if driver.wait(timeout=300) != 0:
                raise SystemExit(f"the driver ended with status {driver.returncode}")
        finally:
            cluster.shutdown()
        wanted, found = outcome(alone), outcome(merged)
        if not wanted or wanted != found:
            raise SystemExit(f"the merged records differ:\n{found}\n{wanted}")
        if done != PARTS or nodes:
            raise SystemExit(f"{done} of {PARTS} parts were done; a node was {'not ' if nodes else ''}killed")
    print(f"{len(wanted)} models in {PARTS} parts on two nodes, one of them killed: the records of one machine")


if __name__ == "__main__":
    main()
