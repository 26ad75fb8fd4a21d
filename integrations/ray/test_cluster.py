"""Runs fetch_on_ray.py on a cluster of two nodes on this machine and kills one of them half-way.

    test_cluster.py --sightline target/release/sightline

The shards must be, byte for byte, those of one run on one machine. Ends with 0 if they are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from common import OPTIONS, check, sightline, table, wait_for  # noqa: E402

ROWS = 1500


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tests fetch_on_ray.py on a cluster of two nodes.")
    parser.add_argument("--sightline", type=Path, required=True)
    program = parser.parse_args().sightline.resolve()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shared = work / "shared"
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            with table(program, work, ROWS) as urls:
                sightline(program, "fetch", "plan", str(urls), f"--out={shared}", *OPTIONS)
                driver = subprocess.Popen(
                    [
                        sys.executable,
                        str(HERE / "fetch_on_ray.py"),
                        str(shared),
                        f"--sightline={program}",
                        "--shards-per-task=3",
                        f"--address={cluster.address}",
                    ]
                )
                wait_for("the first shards", lambda: len(list(shared.glob("*_stats.json"))) >= 8)
                cluster.remove_node(nodes[0], allow_graceful=False)
                at_kill = len(list(shared.glob("*_stats.json")))
                if driver.wait(timeout=300) != 0:
                    raise SystemExit(f"the driver ended with status {driver.returncode}")
            shards = check(work / "alone", shared)
        finally:
            cluster.shutdown()
        if at_kill >= shards:
            raise SystemExit("every shard was done before a node was killed; the test shows nothing")
        print(f"{shards} shards, the same bytes as on one machine; one of two nodes was killed after {at_kill}")


if __name__ == "__main__":
    main()
