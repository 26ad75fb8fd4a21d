"""Makes the shards of a plan on a Spark cluster.

    spark-submit fetch_on_spark.py PLAN

PLAN is what `sightline fetch plan` wrote, on a file system that all executors share. Each partition holds some numbers of
shards, which `pipe` hands to the program; Spark repeats partitions that fail, and what is done is passed over.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    """The command line."""
    file = Path(sys.argv[1])
    file = file / "fetch-plan.json" if file.is_dir() else file
    shards = len(json.loads(file.read_text(encoding="utf-8"))["shards"])
    spark = SparkSession.builder.appName("sightline-fetch").getOrCreate()
    numbers = spark.sparkContext.parallelize(range(shards), max(1, shards // 4))
    # `paste` joins the numbers of a partition with commas; a partition without any does nothing.
    work = f'shards=$(paste -sd,); [ -z "$shards" ] || exec sightline fetch work "{file}" --shards "$shards"'
    for line in numbers.pipe(f"sh -c '{work}'", checkCode=True).collect():
        print(line)
    spark.stop()


if __name__ == "__main__":
    main()
