"""Writes the results of the fetch bench as Markdown.

    report.py fetch.json > fetch.md

makes the page from stored raw numbers again.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

MIB = 2**20
NAMES = {"ours": "sightline", "ours-fast": "sightline, `--decode fast`", "peer": "img2dataset"}

Run = dict[str, Any]

CPU_TARGET = 1 / 3
WALL_TARGET = 1 / 2
START_TARGET_S = 0.1
MEMORY_TARGET_BYTES = 300e6


def markdown(document: dict[str, Any]) -> str:
    """The page for the content of a `fetch.json`."""
    sections = [heading(document), targets(document)]
    sections += [table(one) for one in document["sets"]]
    sections.append(commands(document))
    return "\n\n".join(sections) + "\n"


def heading(document: dict[str, Any]) -> str:
    """What was measured where and with what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    loads = [run["load_before"] for one in document["sets"] for run in one["runs"]]
    return "\n".join(
        [
            "# Fetching against img2dataset",
            "",
            f"{document['date']}, {machine['cpu']}, {machine['cpus']} CPUs, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; load average before the runs "
            f"{min(loads):.1f} to {max(loads):.1f} (the bench itself makes up to {document['cpus']} of it).  ",
            f"Versions: {versions}.",
            "",
            f"URLs of one nginx on loopback to WebDataset shards of 256 pixels, JPEG of quality 95, on {document['cpus']} "
            f"CPUs, which nginx shares; {document['connections']} requests at the same time. Whole processes; CPU time is "
            "user and system time of the process tree, without nginx. Medians with (least–most); memory is the largest "
            "peak over the process tree.",
        ]
    )


def targets(document: dict[str, Any]) -> str:
    """Each target and whether it is met."""
    rows = ["| | pictures | wanted | measured | |", "| --- | --- | ---: | ---: | --- |"]
    for one in document["sets"]:
        sides = by_side(one["runs"])
        if "ours" not in sides or "peer" not in sides:
            continue
        for what, key, wanted in (("CPU an image", cpu_ms, CPU_TARGET), ("wall time", wall, WALL_TARGET)):
            share = median(sides["ours"], key) / median(sides["peer"], key)
            rows.append(
                f"| {what}, ours : img2dataset | {one['name']} | ≤ {wanted:.2f} | {share:.2f} | {verdict(share <= wanted)} |"
            )
        memory = max(run["peak_bytes"] for run in sides["ours"])
        rows.append(
            f"| peak memory | {one['name']} | ≤ 300 MB | {memory / 1e6:.0f} MB | {verdict(memory <= MEMORY_TARGET_BYTES)} |"
        )
    start = median(by_side(document["start_up"])["ours"], wall)
    rows.append(
        f"| one row, whole process | – | < {START_TARGET_S} s | {start:.3f} s | {verdict(start < START_TARGET_S)} |"
    )
    return "\n".join(["## Targets", "", *rows])


def verdict(is_met: bool) -> str:
    """In words."""
    return "met" if is_met else "**not met**"


def table(one: dict[str, Any]) -> str:
    """One row for each side."""
    about, check = one["about"], one["check"]
    rows = [
        "| side | images/s | wall s | CPU ms an image | user : system | peak MiB | of img2dataset: CPU, wall |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    sides = by_side(one["runs"])
    for side, runs in sides.items():
        share = ""
        if side != "peer" and "peer" in sides:
            share = ", ".join(f"{median(runs, key) / median(sides['peer'], key):.2f}" for key in (cpu_ms, wall))
        user = sum(run["user_s"] for run in runs) / sum(run["user_s"] + run["system_s"] for run in runs)
        peak = max(run["peak_bytes"] for run in runs) / MIB
        rows.append(
            f"| {NAMES[side]} | {median(runs, rate):,.0f} | {spread(runs, wall)} | {spread(runs, cpu_ms)} "
            f"| {100 * user:.0f} : {100 - 100 * user:.0f} | {peak:,.0f} | {share} |"
        )
    pixels = check.get("pixels")
    lines = [
        f"## {one['name'].capitalize()} pictures",
        "",
        f"{about['urls']:,} rows of {about['pictures']} pictures, {about['mean_pixels']:,.0f} pixels and "
        f"{about['mean_bytes']:,.0f} bytes each on average. Both stored {check['images']:,} images of the same sizes.",
    ]
    if pixels:
        lines.append(
            f"Mean absolute difference of {pixels['images']} stored images to OpenCV's resize before encoding, in levels: "
            f"ours {pixels['ours_to_reference']:.3f}, img2dataset {pixels['peer_to_reference']:.3f}; to each other "
            f"{pixels['ours_to_peer']:.3f}."
        )
        if "fast_to_reference" in pixels:
            lines.append(
                f"With `--decode fast` {pixels['fast_to_reference']:.3f} to OpenCV's resize and "
                f"{pixels['fast_to_ours']:.3f} to ours on average, and at most {pixels['fast_to_ours_at_most']:.0f}."
            )
    return "\n".join([*lines, "", *rows])


def commands(document: dict[str, Any]) -> str:
    """What was run."""
    return "\n".join(["## Commands", "", *(f"* `{command}`" for command in document["commands"].values())])


def by_side(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs by side."""
    sides: dict[str, list[Run]] = {}
    for run in runs:
        sides.setdefault(run["side"], []).append(run)
    return sides


def wall(run: Run) -> float:
    """Seconds."""
    return float(run["wall_s"])


def cpu_ms(run: Run) -> float:
    """Milliseconds of CPU time a row."""
    return 1000 * float(run["user_s"] + run["system_s"]) / float(run["rows"])


def rate(run: Run) -> float:
    """Rows a second."""
    return float(run["rows"]) / float(run["wall_s"])


def median(runs: list[Run], key: Any) -> float:
    """The median of a value over runs."""
    return float(statistics.median(key(run) for run in runs))


def spread(runs: list[Run], key: Any) -> str:
    """The median with the least and the most."""
    values = [key(run) for run in runs]
    return f"{median(runs, key):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
