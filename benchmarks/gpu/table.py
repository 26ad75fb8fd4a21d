"""The numbers of a folder of run.sh as a table in Markdown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """A JSON file, or its lines; nothing where it is missing or cut off."""
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    except (OSError, ValueError):
        return [] if path.suffix == ".jsonl" else {}


def shown(number: float) -> str:
    """A number, or that there is none."""
    return f"{number:,.0f}" if number else "not measured"


def main() -> None:
    """Prints the table."""
    out = Path(sys.argv[1])
    ours, theirs = read(out / "preprocess.json"), read(out / "torchvision.json")
    rows: list[tuple[str, str, str]] = []
    floors = theirs.get("floors", {})
    if copy := ours.get("copy_bytes_per_second"):
        rows.append(("copy within the card, GB/s", f"{copy / 1e9:,.0f}", shown(floors.get("copy_bytes_per_second", 0) / 1e9)))
    if matrix := floors.get("bf16_operations_per_second"):
        rows.append(("matrix product in bf16, TFLOP/s", "", f"{matrix / 1e12:,.0f}"))
    for kernel in ours.get("kernel", []):
        rows.append((
            f"kernel, {kernel['width']}×{kernel['height']}, batch {kernel['images']}, images/s",
            f"{kernel['images_per_second']:,.0f} ({kernel['share_of_copy']:.0%} of a copy)",
            "",
        ))
    for alone in ours.get("engines_alone", []):
        rows.append((
            f"engines alone, {alone['photos']}, {alone['threads']} threads, images/s", f"{alone['images_per_second']:,.0f}", ""
        ))
    for name in ["small", "large"]:
        best = {
            decode: max(
                (row["images_per_second"] for row in ours.get("whole", []) if (row["photos"], row["decode"]) == (name, decode)),
                default=0,
            )
            for decode in ["Any", "Host"]
        }
        peer = max((row["images_per_second"] for row in theirs.get("rows", []) if row["photos"] == name), default=0)
        rows.append((f"JPEG bytes to bf16, {name}, images/s", shown(best["Any"]), shown(peer)))
        rows.append((f"the same, decoded by the host, {name}", shown(best["Host"]), ""))
    peers: dict[tuple[str, int], list[str]] = {}
    for row in read(out / "torch-models.jsonl"):
        if "per_s" in row:
            mode = row["program"].split()[-1]
            peers.setdefault((row["workload"], row["batch"]), []).append(f"{row['per_s']:,.0f} {mode}")
    for row in read(out / "models.jsonl"):
        key = (row["workload"], row["batch"])
        rows.append((f"{key[0]}, batch {key[1]}, {row['weights']}, {row['unit']}/s", f"{row['per_s']:,.0f}", ", ".join(peers.get(key, []))))
    print("| what | Sightline | torch, torchvision |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
