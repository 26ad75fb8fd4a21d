"""Writes the results of the preprocessing bench as Markdown.

    report.py preprocess.json > preprocess.md

makes the page from stored raw numbers again.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "common"))

import check  # noqa: E402
from ours import STAGES  # noqa: E402
from peers import PEERS, Peer  # noqa: E402
from specs import HF_SLOW  # noqa: E402
from targets import (  # noqa: E402
    OURS,
    Ratio,
    against,
    fastest_peer,
    images_per_s,
    our_runs,
    peer_runs,
    targets,
)

MIB = 2**20
NOTHING = "–"

Run = dict[str, Any]
Case = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """The page for the content of a `preprocess.json`."""
    cases = document["cases"]
    has_ours = any(run["side"] == OURS for case in cases for run in case["runs"])
    sections = [heading(document)]
    if has_ours:
        sections.append(met_and_missed(document))
    sections += [speeds(case) for case in cases]
    if has_ours:
        sections.append(stages(cases))
    sections += [agreement(document["checks"]), outside_passes(cases), explained(document["commands"])]
    return "\n\n".join(section for section in sections if section) + "\n"


def heading(document: dict[str, Any]) -> str:
    """What was measured where and with what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    loads = [run["load_before"] for case in document["cases"] for run in case["runs"]]
    lines = [
        "# Preprocessing against the reference programs",
        "",
        "JPEG bytes in memory to `[3, 224, 224]` float32 with CLIP's settings: short side to 224, bicubic, "
        "centre crop, mean and deviation.",
        "",
        f"{document['date']}, {machine['cpu']}, {machine['cpus']} CPUs, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; "
        f"load average before the runs {min(loads):.1f} to {max(loads):.1f} (the bench itself makes up "
        f"to {max(case['threads'] for case in document['cases'])} of it).  ",
        f"Versions: {versions}.",
        *busy(max(loads), machine["cpus"]),
        "",
        "| photos | from | images | pixels each | bytes a pixel |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, about in document["photos"].items():
        lines.append(
            f"| {name} | {about['source']} | {about['images']} | {about['pixels'] / about['images']:,.0f} "
            f"| {about['bytes'] / about['pixels']:.2f} |"
        )
    return "\n".join(lines)


def busy(load: float, cpus: int) -> list[str]:
    """A warning when others used the machine as well: the bench itself keeps at most its CPUs busy."""
    if load <= cpus + 1:
        return []
    return ["", "**The machine was busy. Wall times and what follows from them are not to be relied on.**"]


def met_and_missed(document: dict[str, Any]) -> str:
    """One row for each target."""
    rows = [
        "## Targets",
        "",
        "| | photos | wanted | measured | | by CPU time |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    words = {True: "met", False: "**not met**", None: "not measured"}
    for target in targets(document):
        rows.append(
            f"| {target.what} | {target.photos} | {target.wanted:.1f}× | {ratio(target.ratio)} "
            f"| {words[target.is_met()]} | {ratio(target.cpu)} |"
        )
    return "\n".join(rows)


def speeds(case: Case) -> str:
    """The tables of one case: whole preparation, and decoding alone."""
    threads = case["threads"]
    title = f"## {case['set'].capitalize()} photos, {'one thread' if threads == 1 else f'{threads} threads'}"
    parts = [title, speed_table(case, lambda peer: not peer.only_decodes)]
    if any(peer_runs(case["runs"], peer.name) for peer in PEERS if peer.only_decodes):
        parts += ["Decoding alone:", speed_table(case, lambda peer: peer.only_decodes)]
    return "\n\n".join(parts)


def speed_table(case: Case, is_wanted: Callable[[Peer], bool]) -> str:
    """Our variants first, then the peers, the fastest in bold."""
    runs = case["runs"]
    several = case["threads"] > 1
    rows = [
        f"| {'side, threads' if several else 'side'} | images/s | CPU ms an image | peak MiB "
        "| ours next to it: same pixels; default spec; fast mode |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    if is_wanted(PEERS[0]):
        for mode, spec in our_variants(runs):
            rows.append(f"| sightline, {mode}, {spec} | {measured(our_runs(runs, mode, spec))} | |")
    fastest = fastest_peer(runs)
    for peer in PEERS:
        found = peer_runs(runs, peer.name)
        if not found or not is_wanted(peer):
            continue
        name = f"**{peer.name}**" if peer.name == fastest else peer.name
        arrangement = f", {found[0]['arrangement']}" if several else ""
        rows.append(f"| {name}{arrangement} | {measured(found)} | {next_to(runs, peer)} |")
    return "\n".join(rows)


def our_variants(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The modes and specs in which ours ran."""
    return list(dict.fromkeys((run["mode"], run["spec"]) for run in runs if run["side"] == OURS))


def next_to(runs: Sequence[Run], peer: Peer) -> str:
    """How many times as fast ours is: by the spec that reproduces the peer, the default one, in fast mode."""
    if peer.only_decodes or not any(run["side"] == OURS for run in runs):
        return ""
    same = against(runs, "exact", peer.spec, peer.name) if peer.tolerance is not None else None
    default = against(runs, "exact", HF_SLOW, peer.name)
    return "; ".join(ratio(one) for one in (same, default, against(runs, "fast", HF_SLOW, peer.name)))


def measured(runs: Sequence[Run]) -> str:
    """Three columns: images/s of all passes, CPU time, memory."""
    speed = [run["images"] / one["wall_s"] for run in runs for one in run["passes"]]
    cpu = [1000 * one["cpu_s"] / run["images"] for run in runs for one in run["passes"]]
    peak = max(run["peak_bytes"] for run in runs) / MIB
    return f"{spread(speed, 1)} | {spread(cpu, 2)} | {peak:,.0f}"


def spread(values: Sequence[float], digits: int) -> str:
    """The median with the least and the most."""
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})"


def ratio(found: Ratio | None) -> str:
    """A ratio with the least and the most of the rounds."""
    return NOTHING if found is None else f"{found.value:.2f}× ({found.low:.2f}–{found.high:.2f})"


def stages(cases: Sequence[Case]) -> str:
    """Where our time goes, and decoding alone beside that of the peers, on one thread."""
    rows = []
    decoders = [peer for peer in PEERS if peer.only_decodes]
    for case in cases:
        if case["threads"] != 1:
            continue
        theirs = [decoding_ms(case["runs"], peer) for peer in decoders]
        for mode, spec in our_variants(case["runs"]):
            ours = our_runs(case["runs"], mode, spec)
            found = [statistics.median(stage_ms(run, stage) for run in ours) for stage in STAGES]
            shares = [f"{one:.2f} ({one / sum(found):.0%})" for one in found]
            rows.append(f"| {case['set']} | {mode}, {spec} | {' | '.join([*shares, *theirs])} |")
    if not rows:
        return ""
    names = [peer.name.removesuffix("-decode") for peer in decoders]
    columns = ["decode", "resize", "normalise", *(f"{name} decodes" for name in names)]
    return "\n".join(
        [
            "## Steps of ours, and decoding beside the peers",
            "",
            "Milliseconds an image on one thread, with the share of the three steps.",
            "",
            f"| photos | sightline | {' | '.join(columns)} |",
            f"| --- | --- |{' ---: |' * len(columns)}",
            *rows,
        ]
    )


def stage_ms(run: Run, stage: str) -> float:
    """A step of ours for each image; its seconds are those of all passes, warm-ups too."""
    passes = len(run["warmups"]) + len(run["passes"])
    return float(1000 * run["stages"][stage] / (passes * run["images"]))


def decoding_ms(runs: Sequence[Run], peer: Peer) -> str:
    """The time of a decoder for each image."""
    found = [1000 / images_per_s(run) for run in peer_runs(runs, peer.name)]
    return f"{statistics.median(found):.2f}" if found else NOTHING


def agreement(rows: Sequence[dict[str, Any]]) -> str:
    """How closely the pixels agree; equal ones in one line."""
    if not rows:
        return "## Agreement\n\nThe pixels were not compared."
    lines = ["## Agreement", ""]
    for peer in dict.fromkeys(row["peer"] for row in rows):
        found = [row for row in rows if row["peer"] == peer]
        equal = [row for row in found if row["verdict"] == check.EQUAL]
        if equal:
            images = sum(row["images"] for row in equal)
            names = ", ".join(row["set"] for row in equal)
            lines.append(f"* {peer} ({equal[0]['spec']}): every value equal on {images} images ({names}).")
        lines += [f"* {check.line(row)}." for row in found if row["verdict"] != check.EQUAL]
    if not any(row["peer"] == check.FAST_MODE for row in rows):
        lines.append("* fast mode: not supported yet.")
    return "\n".join(lines)


def outside_passes(cases: Sequence[Case]) -> str:
    """What a process needs besides its passes."""
    sides: dict[str, list[Run]] = {}
    for case in cases:
        for run in case["runs"]:
            sides.setdefault(run["side"], []).append(run)
    rows = [
        "## Outside the passes",
        "",
        "Start-up, import of libraries and reading of the files are in none of the figures above. Memory "
        "after the import is part of the peaks.",
        "",
        "| side | start to first pass, s | of it import, s | MiB after the import |",
        "| --- | ---: | ---: | ---: |",
    ]
    for side, runs in sides.items():
        is_ours = side == OURS
        imports = NOTHING if is_ours else spread([run["import_s"] for run in runs], 2)
        memory = NOTHING if is_ours else f"{max(run['imported_bytes'] for run in runs) / MIB:,.0f}"
        other = spread([run["other_wall_s"] for run in runs], 2)
        rows.append(f"| {'sightline' if is_ours else side} | {other} | {imports} | {memory} |")
    return "\n".join(rows)


def explained(commands: dict[str, str]) -> str:
    """The sides, the figures and the command lines."""
    sides = [f"* {peer.name}: {peer.what}." for peer in PEERS]
    return "\n".join(
        [
            "## How to read this",
            "",
            "The sides take turns, each turn a process of its own on as many CPUs as threads. Images/s and "
            "CPU time are the median of all timed passes with (least–most), memory is the largest peak of a "
            "process. A ratio is how many times as fast ours is as the peer whose turn came next: the median "
            "of the rounds with (least–most). The fastest peer is in bold. With several threads a peer uses "
            "those of its library (own) or takes an image in each thread (pool), whichever was faster in a "
            "trial; separate processes can do no better than the one-thread figure times the CPUs.",
            "",
            *sides,
            "",
            "```",
            *commands.values(),
            "```",
        ]
    )


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
