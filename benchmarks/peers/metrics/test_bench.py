"""Tests of the parts of the bench that decide what is reported: python3 -m unittest (in this folder)."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import agree  # noqa: E402
import data  # noqa: E402
import report  # noqa: E402
from groups import GROUPS, group_named  # noqa: E402
from measure import measure  # noqa: E402

GROUP = group_named("rouge-score")


def reference(samples: dict[str, float]) -> dict[str, Any]:
    """An output of reference.py in which every metric has the same values."""
    mean = sum(samples.values()) / len(samples)
    return {
        "schema": 1,
        "metrics": [{"id": peer, "value": mean} for peer in GROUP.names.values()],
        "samples": [{"id": id} | dict.fromkeys(GROUP.names.values(), value) for id, value in samples.items()],
    }


class Agreement(unittest.TestCase):
    """What counts as the same values."""

    def problems(self, ours: dict[str, float], corpus: float, theirs: dict[str, float]) -> list[str]:
        """Compares values of images and a corpus value with the reference's."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            metrics = [{"id": id, "value": corpus} for id in GROUP.names]
            (folder / "ours.json").write_text(json.dumps({"schema": 1, "metrics": metrics}))
            lines = [json.dumps({"id": id} | dict.fromkeys(GROUP.names, v)) for id, v in ours.items()]
            (folder / "ours.jsonl").write_text("\n".join(lines))
            (folder / "reference.json").write_text(json.dumps(reference(theirs)))
            result = agree.agreement(
                GROUP, folder / "ours.json", folder / "ours.jsonl", folder / "reference.json"
            )
            problems: list[str] = result["problems"]
            self.assertEqual("metrics" in result, not problems)
            return problems

    def test_values_within_the_tolerance_agree(self) -> None:
        self.assertEqual(self.problems({"1": 0.5, "2": 0.25}, 0.375 + 9e-7, {"2": 0.25, "1": 0.5}), [])

    def test_a_corpus_value_outside_the_tolerance_is_told(self) -> None:
        problems = self.problems({"1": 0.5}, 0.5 + 2e-6, {"1": 0.5})
        self.assertEqual(len(problems), len(GROUP.names))
        self.assertIn("rouge-score-1-stem: 0.500002, the reference says 0.5", problems[0])

    def test_a_value_of_an_image_outside_the_tolerance_is_told_with_the_image(self) -> None:
        problems = self.problems({"1": 0.5 - 2e-6, "2": 0.25}, 0.375, {"1": 0.5, "2": 0.25})
        self.assertEqual(len(problems), len(GROUP.names))
        self.assertIn("1 of 2 samples differ: 1 (", problems[0])

    def test_a_missing_image_is_told_with_its_id(self) -> None:
        problems = self.problems({"1": 0.5}, 0.5, {"1": 0.5, "2": 0.5})
        self.assertEqual(problems, ["samples only on our side: 0 []; only on the other: 1 ['2']"])

    def test_a_value_that_is_not_a_number_equals_only_itself(self) -> None:
        self.assertEqual(agree.difference(math.nan, math.nan), 0.0)
        self.assertEqual(agree.difference(math.nan, 0.5), math.inf)
        self.assertEqual(agree.difference(0.5, math.nan), math.inf)

    def test_a_missing_metric_is_told(self) -> None:
        self.assertEqual(
            agree.corpus_problems(GROUP, {"rouge-score-1-stem": 1.0}, {}),
            ["no value for rouge-score-2-stem, rouge-score-l-stem, rouge-score-lsum-stem"],
        )


class Data(unittest.TestCase):
    """The captions."""

    def test_repetition_makes_ids_unique_and_keeps_the_captions(self) -> None:
        source = data.composed_images()
        images = data.repeated(source, 2 * len(source) + 7)
        self.assertEqual(len({image.id for image in images}), len(images))
        self.assertEqual(images[2 * len(source) + 6].candidate, source[6].candidate)

    def test_composed_captions_are_the_same_every_time(self) -> None:
        self.assertEqual(data.composed_images(), data.composed_images())

    def test_every_image_has_references_and_one_candidate(self) -> None:
        images = data.repeated(data.composed_images(), 50)
        truth, results = data.coco_references(images), data.coco_results(images)
        self.assertEqual([row["id"] for row in truth["images"]], [row["image_id"] for row in results])
        self.assertEqual(len(truth["annotations"]), 5 * len(images))


class Measuring(unittest.TestCase):
    """Time and memory of a process tree."""

    def test_memory_and_time_of_a_child_of_the_command_are_seen(self) -> None:
        child = "import time; x = bytearray(200 << 20); time.sleep(0.5)"
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        cpus = set(sorted(os.sched_getaffinity(0))[:1])
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "out"
            command = [sys.executable, "-c", parent]
            measured = measure(command, cpus, os.environ, out, Path(name) / "err")
        self.assertEqual(measured.status, 0)
        self.assertGreater(measured.wall_s, 0.5)
        self.assertGreater(measured.cpu_s(), 0.01)
        # More than the child alone: the parent is there at the same time.
        self.assertGreater(measured.tree_peak_bytes(), 200 << 20)
        self.assertLess(measured.peak_bytes(), 400 << 20)

    def test_the_processes_run_on_the_given_cpus_and_this_one_is_left_alone(self) -> None:
        before = os.sched_getaffinity(0)
        cpus = set(sorted(before)[:1])
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "out"
            command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
            measure(command, cpus, os.environ, out, Path(name) / "err")
            self.assertEqual(out.read_text().strip(), str(cpus))
        self.assertEqual(os.sched_getaffinity(0), before)


class Page(unittest.TestCase):
    """The table."""

    def run_of(self, side: str, wall_s: float, peak_mib: int) -> dict[str, Any]:
        """A timed run."""
        return {
            "side": side,
            "threads": 1,
            "round": 1,
            "wall_s": wall_s,
            "cpu_s": wall_s,
            "peak_bytes": peak_mib << 20,
            "phases": [],
        }

    def test_a_row_has_the_median_the_spread_and_the_ratio(self) -> None:
        runs = [self.run_of("ours", wall_s, 100) for wall_s in (0.5, 0.25, 1.0)]
        runs += [self.run_of("peer", wall_s, 800) for wall_s in (10.0, 11.0, 9.0)]
        case = {"group": "captions", "peer": "pycocoevalcap", "images": 1000, "runs": runs}
        table = report.summary([case])
        self.assertIn("| 0.500 (0.250–1.000) |", table)
        self.assertIn("| 10.000 (9.000–11.000) |", table)
        self.assertIn("| 20.0×, 8.0× |", table)


class Names(unittest.TestCase):
    """The table of names."""

    def test_no_name_is_used_twice(self) -> None:
        ours = [name for group in GROUPS for name in group.names]
        peers = [name for group in GROUPS for name in group.names.values()]
        self.assertEqual(len(set(ours)), len(ours))
        self.assertEqual(len(set(peers)), len(peers))


if __name__ == "__main__":
    unittest.main()
