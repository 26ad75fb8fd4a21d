"""Tables of the results of the training bench: report.py train.json."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from families import NAMES, WANTED, recipe_named

MIB = 2**20
NOTHING = "–"
LEAST_WAIT = 0.05
"""A share of waiting above which the loader is said to hold training up."""

Run = dict[str, Any]


def samples_per_s(run: Run, batch: int) -> float:
    """Of the median step of a run."""
    return float(batch / statistics.median(run["wall_s"]))


def of_side(case: Run, side: str) -> list[Run]:
    """The runs of one side, by round."""
    return [run for run in case["runs"] if run["side"] == side]


def speeds(case: Run, side: str) -> list[float]:
    """Samples/s of each run of a side."""
    return [samples_per_s(run, case["batch"]) for run in of_side(case, side)]


def pairs(case: Run) -> list[tuple[Run, Run]]:
    """Each turn of ours with the peer's that followed."""
    return list(zip(of_side(case, "ours"), of_side(case, "peer"), strict=False))


def ratios(case: Run) -> list[float]:
    """How many times as fast ours is as the peer's turn that followed."""
    return [samples_per_s(ours, case["batch"]) / samples_per_s(peer, case["batch"]) for ours, peer in pairs(case)]


def cpu_speeds(case: Run, side: str) -> list[float]:
    """Samples per second of CPU time of each run of a side, of all steps together."""
    samples = case["batch"] * case["steps"]
    return [samples / run["cpu_s"] for run in of_side(case, side) if run["cpu_s"]]


def cpu_ratios(case: Run) -> list[float]:
    """The ratios by CPU time."""
    return [peer["cpu_s"] / ours["cpu_s"] for ours, peer in pairs(case) if ours["cpu_s"] and peer["cpu_s"]]


def waits(case: Run) -> list[float]:
    """The share of the time in which our steps waited for batches, of each run."""
    return [sum(run["waited_s"]) / sum(run["wall_s"]) for run in of_side(case, "ours")]


def peaks(case: Run, side: str) -> list[float]:
    """Peak memory of each run in MiB."""
    return [run["peak_bytes"] / MIB for run in of_side(case, side)]


def spread(values: Sequence[float], digits: int, unit: str = "") -> str:
    """The median with the least and the most."""
    if not values:
        return NOTHING
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]}{unit} ({shown[1]}–{shown[2]})"


def percent(values: Sequence[float]) -> str:
    """The median share with the largest."""
    if not values:
        return NOTHING
    return f"{100 * statistics.median(values):.1f} % (≤ {100 * max(values):.1f})"


def threads_text(count: int) -> str:
    """A number of threads."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def is_missed(case: Run) -> bool:
    """Whether ours was slower than wished."""
    found = ratios(case)
    return bool(found) and statistics.median(found) < WANTED


def verdict(values: Sequence[float]) -> str:
    """Whether the median meets the wish."""
    if not values:
        return "not measured"
    return "met" if statistics.median(values) >= WANTED else "**not met**"


def targets(document: Run) -> str:
    """Every wish and what came of it, losses beside wins."""
    rows = [
        "| family | threads | batch | wanted | samples/s : peer | | by CPU time | waited for batches |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for case in document["cases"]:
        found = ratios(case)
        shares = waits(case)
        waited = percent(shares)
        if shares and statistics.median(shares) > LEAST_WAIT:
            waited += " **held up**"
        cells = [
            case["recipe"],
            str(case["threads"]),
            str(case["batch"]),
            f"≥ {WANTED}×",
            spread(found, 2, "×"),
            verdict(found),
            spread(cpu_ratios(case), 2, "×"),
            waited,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def not_compared(document: Run) -> str:
    """The families without figures, by name."""
    there = {case["recipe"] for case in document["cases"]}
    names = [name for name in NAMES if name not in there]
    if not names:
        return "Every family of the bench is there."
    return f"Not compared here, since they were not asked for (`--recipes`): {', '.join(names)}."


def table(case: Run) -> str:
    """All figures of one case."""
    recipe = recipe_named(case["recipe"])
    layouts = ", ".join(dict.fromkeys(run["layout"] for run in of_side(case, "peer") if "layout" in run))
    changes = f" Changed from the recipe: {recipe.changes}." if recipe.changes else ""
    lines = [
        f"### {recipe.what}, {threads_text(case['threads'])}",
        "",
        f"`manifests/train/{recipe.manifest}.toml`, batches of {case['batch']}, {case['steps']} steps a turn. "
        f"Peer: {recipe.peer} ({layouts}).{changes}",
        "",
        "| side | samples/s | samples per CPU second | peak MiB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for side, name in (("ours", "sightline"), ("peer", "peer")):
        figures = [spread(speeds(case, side), 1), spread(cpu_speeds(case, side), 1), spread(peaks(case, side), 0)]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines)


def shares(phases: dict[str, float]) -> str:
    """Phases with their shares, the largest first."""
    rows = sorted(phases.items(), key=lambda row: -row[1])
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in rows)


def profile(found: Run) -> str:
    """Where the time of both sides goes."""
    ours, peer = found["ours"], found["peer"]
    lines = [f"### {recipe_named(found['recipe']).what}", ""]
    if ours is None:
        lines.append("`perf` is not there: nothing is known of ours.")
    else:
        lines += [
            f"Sightline: {shares(ours['phases'])} ({ours['samples']} samples).",
            "",
            "| phase | innermost function of ours | operation | share |",
            "| --- | --- | --- | ---: |",
        ]
        for row in ours["rows"]:
            lines.append(f"| {row['phase']} | `{row['caller']}` | `{row['operation']}` | {100 * row['share']:.1f} % |")
    lines += ["", f"Peer: {shares(peer['phases'])}.", "", "| operator | calls a step | share |", "| --- | ---: | ---: |"]
    lines += [f"| `{row['name']}` | {row['calls']} | {100 * row['share']:.1f} % |" for row in peer["rows"]]
    return "\n".join(lines)


def checked(rows: Sequence[Run]) -> str:
    """What was compared before."""
    lines = [
        "From the same weights, on the same batch: the losses of the first step and how far they are apart in proportion, "
        "with the length of the gradient, and the losses after one and two steps of AdamW; the peer in 64 bits here, "
        "in 32 where it is timed. Both train the same tensors.",
        "",
        "| family | samples | tensors | sightline | peer | loss | gradient | later losses |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        first, later = row["steps"][0], row["steps"][1:]
        apart = ", ".join(f"{one['loss']:.1e}" for one in later)
        cells = [
            row["recipe"],
            str(row["samples"]),
            str(row["tensors"]),
            f"{first['ours']:.6f}",
            f"{first['peer']:.6f}",
            f"{first['loss']:.1e}",
            f"{first['gradient']:.1e}",
            apart,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown(document: Run) -> str:
    """The whole page."""
    about = document["machine"]
    loads = [run["load_before"] for case in document["cases"] for run in case["runs"]] or [0.0]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    parts = [
        "# Training against PyTorch",
        "The recipes of `manifests/train/` on drawn scenes, CPU, f32: the same model, loss, AdamW with the same groups, "
        "clipping and batch, from the same weights. The sides take turns, each turn a process of its own on as many CPUs "
        "as threads; samples/s are those of the median step of each turn, shown as the median of the turns (least–most). "
        "A ratio is ours to the peer's turn that followed; where the machine is not idle the one by CPU time is the more "
        "reliable.",
        "Ours is `sightline train`, which reads, decodes and prepares batches on the same CPUs while it trains, and writes "
        "its log; the peer is generously placed: its batches lie in memory as tensors before the first step, with labels "
        "and masks, logits are made of told places only, AdamW is torch's fused one, and convolutions take the memory "
        "layout that is faster. It runs in eager mode, without `torch.compile`.",
        f"{document['date']}, {about['cpu']}, {about['cpus']} CPUs, {about['memory_bytes'] / 2**30:.0f} GiB, "
        f"{about['system']}; load average before the turns {min(loads):.1f} to {max(loads):.1f} (the bench itself makes up "
        f"to 2 of it).  \nVersions: {versions}.",
        *document["notes"],
        f"## Targets\n\n{targets(document)}",
        not_compared(document),
        "## Figures",
        *[table(case) for case in document["cases"]],
    ]
    if document["profiles"]:
        parts += [
            "## Where the time goes",
            "One thread. Ours: samples of `perf` behind the warm-up, each put down to the innermost of candle's "
            "operations and the innermost function of ours that called it (functions that were inlined are not seen); "
            "peer: operators by their own share of the time in torch's profiler.",
            *[profile(found) for found in document["profiles"]],
        ]
    parts += ["## Agreement", checked(document["checks"]), "\n".join(["```", *document["commands"].values(), "```"])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
