"""Tables of the results of the model bench: report.py models.json."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workloads import LOAD_S, MEMORY, Workload, workload_named

MIB = 2**20
NOTHING = "–"

Run = dict[str, Any]


def items_per_s(run: Run, batch: int) -> float:
    """Of the median pass of a run."""
    return float(batch / statistics.median(one["wall_s"] for one in run["batches"][str(batch)]))


def of_side(case: Run, side: str) -> list[Run]:
    """The runs of one side, by round."""
    return [run for run in case["runs"] if run["side"] == side]


def speeds(case: Run, side: str, batch: int) -> list[float]:
    """Items/s of each run of a side; none where it did not take this batch."""
    return [items_per_s(run, batch) for run in of_side(case, side) if str(batch) in run["batches"]]


def ratios(case: Run, batch: int) -> list[float]:
    """How many times as fast ours is as the peer's turn that followed."""
    pairs = zip(speeds(case, "ours", batch), speeds(case, "peer", batch), strict=False)
    return [ours / peer for ours, peer in pairs]


def cpu_ratios(case: Run, batch: int) -> list[float]:
    """The same by CPU time, whose steps are coarse: of all passes together."""

    def cpu_s(run: Run) -> float:
        return statistics.mean(one["cpu_s"] for one in run["batches"][str(batch)])

    pairs = zip(of_side(case, "ours"), of_side(case, "peer"), strict=False)
    both = [(ours, peer) for ours, peer in pairs if all(str(batch) in run["batches"] for run in (ours, peer))]
    return [cpu_s(peer) / cpu_s(ours) for ours, peer in both]


def peaks(case: Run, side: str) -> list[float]:
    """Peak memory of each run in MiB."""
    return [run["peak_bytes"] / MIB for run in of_side(case, side)]


def spread(values: Sequence[float], digits: int, unit: str = "") -> str:
    """The median with the least and the most."""
    if not values:
        return NOTHING
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]}{unit} ({shown[1]}–{shown[2]})"


def verdict(values: Sequence[float], is_met: Callable[[float], bool]) -> str:
    """Whether the median meets a wish."""
    if not values:
        return "not measured"
    return "met" if is_met(statistics.median(values)) else "**not met**"


def threads_text(count: int) -> str:
    """A number of threads."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def targets(document: Run) -> str:
    """Every wish and what came of it, losses beside wins."""
    rows = []
    for case in document["cases"]:
        workload = workload_named(case["workload"])
        for batch, wanted in workload.wanted.items():
            found = ratios(case, batch)
            met = verdict(found, lambda value, wanted=wanted: value >= wanted)
            what = f"{workload.name}, batch {batch}, {threads_text(case['threads'])}: speed : peer"
            cpu = spread(cpu_ratios(case, batch), 2, "×")
            rows.append(f"| {what} | ≥ {wanted:.1f}× | {spread(found, 2, '×')} | {met} | {cpu} |")
        memory = [a / b for a, b in zip(peaks(case, "ours"), peaks(case, "peer"), strict=False)]
        met = verdict(memory, lambda value: value <= MEMORY)
        what = f"{workload.name}, {threads_text(case['threads'])}: peak memory : peer"
        rows.append(f"| {what} | ≤ {MEMORY}× | {spread(memory, 2, '×')} | {met} | |")
        if workload.checkpoint == "clip":
            loads = [run["load_s"] for run in of_side(case, "ours")]
            met = verdict(loads, lambda value: value <= LOAD_S)
            what = f"{workload.name}, {threads_text(case['threads'])}: loading 605 MB"
            rows.append(f"| {what} | ≤ {LOAD_S} s | {spread(loads, 2, ' s')} | {met} | |")
    head = ["| | wanted | measured | | by CPU time |", "| --- | ---: | ---: | --- | ---: |"]
    return "\n".join([*head, *rows])


def table(workload: Workload, cases: Sequence[Run]) -> str:
    """All figures of one workload."""
    rows = []
    for case in cases:
        batches = dict.fromkeys(batch for run in case["runs"] for batch in run["batches"])
        for batch in map(int, batches):
            ours, peer = speeds(case, "ours", batch), speeds(case, "peer", batch)
            ratio, cpu = spread(ratios(case, batch), 2, "×"), spread(cpu_ratios(case, batch), 2, "×")
            figures = " | ".join([spread(ours, 2), spread(peer, 2), ratio, cpu])
            rows.append(f"| {case['threads']} | {batch} | {figures} |")
    lines = [
        f"## {workload.what}",
        "",
        f"| threads | batch | sightline, {workload.unit}/s | peer, {workload.unit}/s | ratio | by CPU time |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "| threads | side | loading, s | peak MiB |",
        "| ---: | --- | ---: | ---: |",
    ]
    for case in cases:
        for side, name in (("ours", "sightline"), ("peer", "peer")):
            loads = [run["load_s"] for run in of_side(case, side)]
            memory = spread(peaks(case, side), 0)
            lines.append(f"| {case['threads']} | {name} | {spread(loads, 2)} | {memory} |")
    return "\n".join(lines)


def checked(rows: Sequence[Run]) -> str:
    """What was compared before."""
    lines = ["## Agreement", ""]
    for row in rows:
        output = workload_named(row["workload"]).output
        lines.append(
            f"* {row['workload']}: the {output} of {row['inputs']} inputs, {row['values']:,} values up to "
            f"{row['largest']:.3g}, differ by {row['difference']:.1e} at most."
        )
    return "\n".join(lines)


def markdown(document: Run) -> str:
    """The whole page."""
    about = document["machine"]
    loads = [run["load_before"] for case in document["cases"] for run in case["runs"]]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    names = dict.fromkeys(case["workload"] for case in document["cases"])
    tables = [
        table(workload_named(name), [case for case in document["cases"] if case["workload"] == name])
        for name in names
    ]
    return "\n\n".join(
        [
            "# Models against the reference programs",
            "Random weights of full size, CPU, f32. The sides take turns, each turn a process of its own on as "
            "many CPUs as threads; items/s are those of the median pass of each turn, shown as the median of the "
            "turns (least–most), memory is the peak of the process over all batches. A ratio is ours to the "
            "peer's turn that followed; where the machine is not idle the one by CPU time is the more reliable.",
            f"{document['date']}, {about['cpu']}, {about['cpus']} CPUs, "
            f"{about['memory_bytes'] / 2**30:.0f} GiB, {about['system']}; load average before the turns "
            f"{min(loads):.1f} to {max(loads):.1f} (the bench itself makes up to 2 of it).  \nVersions: {versions}.",
            *document["notes"],
            "Peers: transformers with its default attention (`sdpa` for CLIP), torch's eager mode under "
            "`inference_mode`; ResNet-50 of torchvision in the memory layout that is faster; VirTex's decoder as "
            "published, which computes every caption so far anew in each step. GPT-2 and Pythia write in transformers' "
            "`generate`, Flamingo in a loop over its blocks with their cache, MAGIC by the published procedure over the "
            "same cache; ASIF's peer is one product and torch's `topk`.",
            f"## Targets\n\n{targets(document)}",
            *tables,
            checked(document["checks"]),
            "\n".join(["```", *document["commands"].values(), "```"]),
        ]
    ) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
