"""Writes the results of the metrics bench as Markdown.

    report.py metrics.json > metrics.md

makes the page from stored raw numbers again.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MIB = 2**20

Run = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """The page for the content of a `metrics.json`."""
    sections = [heading(document), summary(document["cases"])]
    checks = [agreement(case) for case in document["cases"] if "check" in case]
    if checks:
        sections.append("\n".join(["## Agreement", "", *checks]))
    sections += [steps(case) for case in document["cases"]]
    sections.append(commands(document["cases"]))
    return "\n\n".join(section for section in sections if section) + "\n"


def heading(document: dict[str, Any]) -> str:
    """What was measured where and with what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    loads = [run["load_before"] for case in document["cases"] for run in case["runs"]]
    sources = dict.fromkeys(case["data"]["source"] for case in document["cases"])
    return "\n".join(
        [
            "# Metrics against the reference programs",
            "",
            f"{document['date']}, {machine['cpu']}, {machine['cpus']} CPUs, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; "
            f"load average before the runs {min(loads):.1f} to {max(loads):.1f} (the bench itself makes up "
            f"to {max(run['threads'] for case in document['cases'] for run in case['runs'])} of it).  ",
            f"Versions: {versions}.  ",
            f"Captions: {'; '.join(sources)}; more images than there are come from repetition.",
            "",
            "Whole processes, start-up and loading of tables included, files in the page cache; the sides "
            "take turns. Times are the median of the rounds with (least–most). Memory is the peak over "
            "all processes of a side, the largest of the rounds.",
        ]
    )


def summary(cases: Sequence[dict[str, Any]]) -> str:
    """One row for each case, number of CPUs and side."""
    rows = [
        "| metrics | images | CPUs | side | rounds | wall s | CPU s | peak MiB | peer / ours: time, memory |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for case in cases:
        for threads in dict.fromkeys(run["threads"] for run in case["runs"]):
            sides = by_side(case["runs"], threads)
            for side, runs in sides.items():
                name = "sightline" if side == "ours" else case["peer"]
                rows.append(
                    f"| {case['group']} | {case['images']:,} | {threads} | {name} | {len(runs)} "
                    f"| {spread(runs, 'wall_s')} | {spread(runs, 'cpu_s')} | {peak(runs) / MIB:,.0f} "
                    f"| {against(sides) if side == 'ours' else ''} |"
                )
    return "\n".join(rows)


def by_side(runs: Sequence[Run], threads: int) -> dict[str, list[Run]]:
    """The runs on this number of CPUs, by side."""
    sides: dict[str, list[Run]] = {}
    for run in runs:
        if run["threads"] == threads:
            sides.setdefault(run["side"], []).append(run)
    return sides


def against(sides: dict[str, list[Run]]) -> str:
    """Wall time and memory of the peer in those of our side; below 1 our side takes more."""
    if len(sides) < 2:
        return ""
    time = median(sides["peer"], "wall_s") / median(sides["ours"], "wall_s")
    memory = peak(sides["peer"]) / peak(sides["ours"])
    return f"{time:.1f}×, {memory:.1f}×"


def median(runs: Sequence[Run], key: str) -> float:
    """The median of a value over runs."""
    return float(statistics.median(run[key] for run in runs))


def spread(runs: Sequence[Run], key: str) -> str:
    """The median with the least and the most, if there are several runs."""
    middle = f"{median(runs, key):,.3f}"
    if len(runs) == 1:
        return middle
    values = [run[key] for run in runs]
    return f"{middle} ({min(values):,.3f}–{max(values):,.3f})"


def peak(runs: Sequence[Run]) -> int:
    """The largest peak of memory."""
    return int(max(run["peak_bytes"] for run in runs))


def agreement(case: dict[str, Any]) -> str:
    """That the sides agreed, and how closely."""
    check = case["check"]
    corpus = max(metric["corpus_difference"] for metric in check["metrics"])
    sample = max(metric["worst_sample_difference"] for metric in check["metrics"])
    return (
        f"* {case['group']}, {case['images']:,} images: {len(check['metrics'])} metrics, largest difference "
        f"{corpus:.1e} for the corpus and {sample:.1e} for an image (limit {check['tolerance']:.0e})."
    )


def steps(case: dict[str, Any]) -> str:
    """Where the time goes, for sides that tell."""
    rows = []
    for threads in dict.fromkeys(run["threads"] for run in case["runs"]):
        for side, runs in by_side(case["runs"], threads).items():
            rows += step_rows(runs, threads, "sightline" if side == "ours" else case["peer"])
    if not rows:
        return ""
    return "\n".join(
        [
            f"## Steps: {case['group']}, {case['images']:,} images",
            "",
            "| side | CPUs | step | wall s | CPU s | peak MiB |",
            "| --- | ---: | --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def step_rows(runs: Sequence[Run], threads: int, side: str) -> list[str]:
    """A row for each step, with medians over the runs."""
    rows = []
    for same_step in zip(*(run["phases"] for run in runs), strict=True):
        rows.append(
            f"| {side} | {threads} | {same_step[0]['name']} | {median(same_step, 'wall_s'):,.3f} "
            f"| {median(same_step, 'cpu_s'):,.3f} | {step_peak(same_step)} |"
        )
    return rows


def step_peak(same_step: Sequence[Run]) -> str:
    """The largest peak of a step; a step that fell between two samples of memory has none."""
    largest = peak(same_step)
    return f"{largest / MIB:,.0f}" if largest else "–"


def commands(cases: Sequence[dict[str, Any]]) -> str:
    """The command lines that were timed."""
    lines = dict.fromkeys(command for case in cases for command in case["commands"].values())
    return "\n".join(["## Commands", "", "```", *lines, "```"])


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
