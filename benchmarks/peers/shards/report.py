"""Writes the results of the shards bench as Markdown.

    report.py shards.json > shards.md

makes the page from stored raw numbers again.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20

Run = dict[str, Any]
Case = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """The page for the content of a `shards.json`."""
    return "\n\n".join([heading(document), targets(document), table(document)]) + "\n"


def heading(document: dict[str, Any]) -> str:
    """What was measured where and with what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    loads = [run["load_before"] for case in document["cases"] for run in case["runs"]]
    return "\n".join(
        [
            "# Shards against the libraries of others",
            "",
            f"{document['date']}, {machine['cpu']}, {machine['cpus']} CPUs, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; load average before the runs "
            f"{min(loads):.1f} to {max(loads):.1f}.  ",
            f"Versions: {versions}.",
            "",
            *[f"{note}\n" for note in document["notes"]],
            f"{document['samples']:,} samples, photographs at 256 pixels; files in the page cache. Both sides have seen the same keys and "
            "bytes of every sample, or the same pixels. Seconds of the workload without starting an interpreter, imports and "
            "opening an index (our converter: the whole process); medians with (least–most); memory is the largest peak over the "
            "process tree.",
        ]
    )


def targets(document: dict[str, Any]) -> str:
    """Each target and whether it is met."""
    rows = ["| | CPUs | wanted | measured | |", "| --- | ---: | ---: | ---: | --- |"]
    for case in document["cases"]:
        if case["target"] is None:
            continue
        for cpus, sides in by_cpus(case).items():
            times = median(sides["ours"], rate) / median(sides["peer"], rate)
            verdict = "met" if times >= case["target"] else "**not met**"
            rows.append(f"| {case['what']}, of {case['peer']} | {cpus} | ≥ {case['target']:g}× | {times:.1f}× | {verdict} |")
    return "\n".join(["## Targets", "", *rows])


def table(document: dict[str, Any]) -> str:
    """One row for each case, number of CPUs and side."""
    rows = [
        "| workload | CPUs | side | samples/s | s | CPU µs a sample | peak MiB | faster: wall, CPU |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in document["cases"]:
        for cpus, sides in by_cpus(case).items():
            for side, runs in sides.items():
                faster = ""
                if side == "ours":
                    ratios = (median(sides["peer"], key) / max(median(runs, key), 1e-9) for key in (wall, cpu_us))
                    faster = ", ".join(f"{ratio:.1f}×" for ratio in ratios)
                name = "sightline" if side == "ours" else case["peer"]
                peak = max(run["peak_bytes"] for run in runs) / MIB
                rows.append(
                    f"| {case['what']} | {cpus} | {name} | {median(runs, rate):,.0f} | {spread(runs, wall)} "
                    f"| {median(runs, cpu_us):.0f} | {peak:,.0f} | {faster} |"
                )
    return "\n".join(["## Everything", "", *rows])


def by_cpus(case: Case) -> dict[int, dict[str, list[Run]]]:
    """The runs by number of CPUs and side."""
    found: dict[int, dict[str, list[Run]]] = {}
    for run in case["runs"]:
        found.setdefault(run["cpus"], {}).setdefault(run["side"], []).append(run)
    return found


def wall(run: Run) -> float:
    """Seconds."""
    return float(run["wall_s"])


def cpu_us(run: Run) -> float:
    """Microseconds of CPU time a sample."""
    return 1e6 * float(run["cpu_s"]) / float(run["samples"])


def rate(run: Run) -> float:
    """Samples a second."""
    return float(run["samples"]) / float(run["wall_s"])


def median(runs: list[Run], key: Callable[[Run], float]) -> float:
    """The median of a value over runs."""
    return float(statistics.median(key(run) for run in runs))


def spread(runs: list[Run], key: Callable[[Run], float]) -> str:
    """The median with the least and the most."""
    values = [key(run) for run in runs]
    return f"{median(runs, key):.3f} ({min(values):.3f}–{max(values):.3f})"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
