"""Tests of the parts of the bench that decide what is reported: python3 -m unittest (in this folder)."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import report  # noqa: E402
import run  # noqa: E402
from driver import Failed  # noqa: E402
from workloads import NAMES, WORKLOADS, workload_named  # noqa: E402


def turn(side: str, number: int, seconds: dict[int, list[float]], peak_mib: float = 100.0) -> dict[str, Any]:
    """A stored run: wall times of the passes by batch."""
    batches = {str(batch): [{"wall_s": wall, "cpu_s": wall} for wall in walls] for batch, walls in seconds.items()}
    return {
        "side": side,
        "round": number,
        "load_before": 0.5,
        "load_s": 0.25,
        "batches": batches,
        "peak_bytes": peak_mib * report.MIB,
    }


def case(workload: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A stored case on one thread."""
    return {"workload": workload, "threads": 1, "runs": runs}


def document(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Stored results."""
    return {
        "date": "2026-01-02",
        "machine": {"cpu": "CPU", "cpus": 2, "memory_bytes": 2**34, "system": "Linux"},
        "versions": {"commit": "abc", "torch": "2"},
        "commands": {"ours": "peers clip-image", "peer": "python reference.py"},
        "notes": [],
        "checks": [
            {"workload": one["workload"], "inputs": 4, "values": 8, "difference": 1e-7, "largest": 1.0}
            for one in cases
        ],
        "cases": cases,
    }


class Reporting(unittest.TestCase):
    """What becomes of stored figures."""

    def test_a_ratio_is_that_of_neighbours(self) -> None:
        found = case(
            "clip-image",
            [
                turn("ours", 1, {8: [1.0, 2.0, 4.0]}),
                turn("peer", 1, {8: [4.0]}),
                turn("ours", 2, {8: [1.0]}),
                turn("peer", 2, {8: [3.0]}),
            ],
        )
        self.assertEqual(report.speeds(found, "ours", 8), [4.0, 8.0])
        self.assertEqual(report.ratios(found, 8), [2.0, 3.0])
        self.assertEqual(report.ratios(found, 32), [])

    def test_losses_stand_beside_wins(self) -> None:
        runs = [turn("ours", 1, {1: [1.0], 8: [1.0]}), turn("peer", 1, {1: [2.0], 8: [0.5]})]
        text = report.targets(document([case("clip-image", runs)]))
        self.assertIn("| clip-image, batch 1, 1 thread: speed : peer | ≥ 1.3× | 2.00× (2.00–2.00) | met | 2.00× (2.00–2.00) |", text)
        self.assertIn("| ≥ 1.0× | 0.50× (0.50–0.50) | **not met** | 0.50× (0.50–0.50) |", text)
        self.assertIn("clip-image, batch 32, 1 thread: speed : peer | ≥ 1.0× | – | not measured | – |", text)
        self.assertIn("peak memory : peer | ≤ 0.7× | 1.00× (1.00–1.00) | **not met** | |", text)
        self.assertIn("loading 605 MB | ≤ 0.5 s | 0.25 s (0.25–0.25) | met | |", text)

    def test_every_workload_has_a_table(self) -> None:
        cases = [
            case(one.name, [turn(side, 1, {1: [1.0]}) for side in ("ours", "peer")]) for one in WORKLOADS
        ]
        text = report.markdown(document(cases))
        for one in WORKLOADS:
            self.assertIn(f"## {one.what}", text)


class Joining(unittest.TestCase):
    """Results that are measured in pieces."""

    def test_new_cases_replace_those_of_the_same_name(self) -> None:
        old, new = case("captions", []), case("captions", [turn("ours", 1, {1: [1.0]})])
        both = run.joined(document([old, case("clip-text", [])]), document([new]), run.PARTS, NAMES)
        self.assertEqual([one["workload"] for one in both["cases"]], ["clip-text", "captions"])
        self.assertEqual(len(both["cases"][1]["runs"]), 1)

    def test_results_of_another_commit_are_not_mixed(self) -> None:
        other = document([])
        other["versions"] = {"commit": "def"}
        with self.assertRaises(Failed):
            run.joined(other, document([]), run.PARTS, NAMES)


class Choosing(unittest.TestCase):
    """The table of workloads."""

    def test_names_are_known_once(self) -> None:
        self.assertEqual(len(set(NAMES)), len(NAMES))
        self.assertEqual(workload_named("captions").peer_batches, (1,))


if __name__ == "__main__":
    unittest.main()
