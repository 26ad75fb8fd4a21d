"""Tests of the parts of the bench that decide what is reported: python3 -m unittest (in this folder).

Those that need numpy run with the Python of the peers only: ../../../.venv/preprocess/bin/python.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import unittest
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import check  # noqa: E402
import ours  # noqa: E402
import photos  # noqa: E402
import report  # noqa: E402
import specs  # noqa: E402
import targets  # noqa: E402
from driver import Failed  # noqa: E402
from peers import PEERS, peer_named  # noqa: E402
from pipelines import BUILDERS  # noqa: E402

HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def jpeg(marker: int, width: int, height: int, components: int = 3) -> bytes:
    """The headers of a JPEG: a comment with a false frame in it, then the start of frame."""
    comment = b"\xff\xfe" + (10).to_bytes(2, "big") + b"\xff\xc0\x00\x11\x08\x00\x01\x00"
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    frame = b"\x08" + sides + bytes([components]) + bytes(3 * components)
    return b"\xff\xd8" + comment + bytes([0xFF, marker]) + (len(frame) + 2).to_bytes(2, "big") + frame


class Choosing(unittest.TestCase):
    """Which photos a folder has."""

    def test_the_size_is_that_of_the_frame_after_other_segments(self) -> None:
        header = photos.jpeg_header(jpeg(0xC0, 500, 375))
        self.assertEqual(header, photos.JpegHeader(True, 500, 375, 3))

    def test_progressive_and_grey_files_are_not_chosen(self) -> None:
        for data in (jpeg(0xC2, 500, 375), jpeg(0xC0, 500, 375, components=1)):
            header = photos.jpeg_header(data)
            assert header is not None
            self.assertFalse(header.is_baseline_colour())

    def test_a_cut_file_and_another_format_have_no_header(self) -> None:
        self.assertIsNone(photos.jpeg_header(jpeg(0xC0, 500, 375)[:20]))
        self.assertIsNone(photos.jpeg_header(b"\x89PNG\r\n\x1a\n"))

    def test_upright_photos_are_of_the_same_size(self) -> None:
        self.assertTrue(photos.SMALL.has(375, 500))
        self.assertFalse(photos.SMALL.has(640, 480))
        self.assertTrue(photos.LARGE.has(2048, 1536))

    def test_a_choice_is_spread_over_all(self) -> None:
        paths = [Path(str(number)) for number in range(10)]
        self.assertEqual([path.name for path in photos.spread(paths, 3)], ["0", "3", "6"])
        self.assertEqual(photos.spread(paths, 20), paths)

    def test_the_odd_sizes_leave_every_remainder_to_crop(self) -> None:
        left = {max(specs.resized(*size)) - specs.SIDE for size in photos.ODD_SIZES}
        self.assertEqual({pixels % 4 for pixels in left}, {0, 1, 2, 3})


class Settings(unittest.TestCase):
    """What all contestants compute."""

    def test_the_long_side_is_cut_off_and_the_crop_rounds_down(self) -> None:
        self.assertEqual(specs.resized(500, 375), (298, 224))
        self.assertEqual(specs.resized(375, 500), (224, 298))
        self.assertEqual(specs.corner(335, 224), (55, 0))

    def test_every_peer_has_a_pipeline_and_a_known_spec(self) -> None:
        self.assertEqual([peer.name for peer in PEERS], list(BUILDERS))
        self.assertLessEqual({peer.spec for peer in PEERS}, set(specs.FILES))


class OurOutput(unittest.TestCase):
    """What our program prints."""

    def printed(self, **changes: Any) -> str:
        """The output of two passes over three images."""
        stages = dict.fromkeys(ours.STAGES, 0.1)
        passes = [{"wall_s": 0.5, "cpu_s": 0.4, "other": 1}] * 2
        found = {"schema": 1, "images": 3, "threads": 2, "mode": "exact", "passes": passes}
        return json.dumps(found | {"stages": stages, "peak_bytes": 7} | changes)

    def read(self, text: str) -> ours.Timing:
        """Reads it as the bench does."""
        return ours.timing(text, mode="exact", images=3, repeat=2, threads=2)

    def test_passes_stages_and_memory_are_read(self) -> None:
        found = self.read(self.printed())
        self.assertEqual(found.passes, [{"wall_s": 0.5, "cpu_s": 0.4}] * 2)
        self.assertEqual((found.stages["resize_s"], found.peak_bytes), (0.1, 7))

    def test_other_work_than_was_asked_for_is_refused(self) -> None:
        others: dict[str, Any] = {"mode": "fast", "images": 2, "passes": [], "threads": 1, "schema": 2}
        for key, value in others.items():
            with self.assertRaises(Failed):
                self.read(self.printed(**{key: value}))

    def test_output_that_is_not_as_expected_is_refused(self) -> None:
        for text in ("", self.printed(stages={}), self.printed(passes=None), "[]"):
            with self.assertRaises(Failed):
                self.read(text)

    def test_the_exact_mode_needs_no_flag(self) -> None:
        program = ours.Ours(Path("sightline"))
        exact = program.to_time(Path("spec"), ours.EXACT, ["a"], 7, 2)
        self.assertNotIn("--mode", exact)
        self.assertEqual(exact[-5:], ["--repeat", "7", "--threads", "2", "--json"])
        self.assertIn("--mode", program.to_write(Path("spec"), ours.FAST, ["a"], Path("out")))


class Agreement(unittest.TestCase):
    """What counts as the same pixels."""

    def found(self, differing: int, largest: float) -> dict[str, Any]:
        """A comparison."""
        worst = {"image": "a.jpg", "channel": "red", "row": 1, "column": 2, "ours": 0.0, "reference": 1.0}
        sizes = {"images": 2, "differing_images": 1, "values": 9, "differing": differing, "worst": worst}
        return sizes | {"max": largest, "mean": 0.1, "max_levels": 1.0, "mean_levels": 0.1}

    def check(
        self, open_clip: Path | str, from_peer: float, from_default: int
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Checks one set against open_clip and Pillow, and gives the rows and what stops the bench."""

        def our_pixels(name: str, spec: str, mode: str) -> Path | str:
            return open_clip if spec == specs.OPEN_CLIP else Path(f"{spec}-{mode}")

        def compare(name: str, mine: Path, reference: Path) -> dict[str, Any]:
            if mine != open_clip:
                return self.found(0, 0.0)
            if reference.name == "hf-slow-exact":
                return self.found(from_default, 1.0)
            return self.found(int(from_peer > 0), from_peer)

        steps = check.Steps(our_pixels, lambda name, peer: Path(peer.name), compare)
        peers = [peer_named("open-clip"), peer_named("pillow")]
        rows = list(check.check(["small"], peers, steps, fast_mode=True))
        return rows, check.problems(rows)

    def test_a_difference_beyond_the_tolerance_stops_the_bench_and_says_where(self) -> None:
        rows, problems = self.check(Path("open-clip"), from_peer=0.5, from_default=3)
        self.assertEqual(rows[0]["verdict"], check.DIFFERS)
        self.assertEqual(len(problems), 1)
        self.assertIn("worst in a.jpg, red, row 1, column 2", problems[0])

    def test_equal_pixels_and_the_fast_mode_are_no_problem(self) -> None:
        rows, problems = self.check(Path("open-clip"), from_peer=0.0, from_default=3)
        self.assertEqual([row["peer"] for row in rows], ["open-clip", "pillow", check.FAST_MODE])
        self.assertEqual(problems, [])
        self.assertEqual(check.unsupported_specs(rows), set())

    def test_a_spec_that_is_refused_or_passed_over_is_not_supported_yet(self) -> None:
        for pixels, from_default in (("no such key", 3), (Path("open-clip"), 0)):
            rows, problems = self.check(pixels, from_peer=0.5, from_default=from_default)
            self.assertEqual(problems, [])
            self.assertEqual(check.unsupported_specs(rows), {specs.OPEN_CLIP})

    def test_a_tolerance_is_a_limit_and_without_one_nothing_is_asked(self) -> None:
        self.assertEqual(check.verdict(self.found(0, 0.0), 0.0), check.EQUAL)
        self.assertEqual(check.verdict(self.found(1, 1e-6), 1e-6), check.WITHIN)
        self.assertEqual(check.verdict(self.found(1, 1e-6), 0.0), check.DIFFERS)
        self.assertEqual(check.verdict(self.found(1, 1e-6), None), check.NOT_ASKED)
        self.assertEqual(check.verdict({"problem": "shapes"}, None), check.DIFFERS)

    @unittest.skipUnless(HAS_NUMPY, "needs numpy")
    def test_the_largest_difference_is_found_with_its_place_and_its_levels(self) -> None:
        import numpy as np
        from agree import compare

        left = np.zeros((2, 3, 4, 4), np.float32)
        right = left.copy()
        right[1, 2, 3, 0] = 0.5
        found = compare(left, right, ["x/a.jpg", "x/b.jpg"])
        self.assertEqual((found["differing"], found["differing_images"], found["max"]), (1, 1, 0.5))
        self.assertAlmostEqual(found["max_levels"], 0.5 * 255 * specs.STD[2])
        place = [found["worst"][key] for key in ("image", "channel", "row", "column")]
        self.assertEqual(place, ["b.jpg", "blue", 3, 0])

    @unittest.skipUnless(HAS_NUMPY, "needs numpy")
    def test_a_value_that_is_no_number_and_another_shape_differ(self) -> None:
        import numpy as np
        from agree import compare

        left = np.zeros((1, 3, 4, 4), np.float32)
        right = left.copy()
        right[0, 0, 0, 0] = np.nan
        self.assertEqual(compare(left, right, ["a"])["max"], float("inf"))
        self.assertEqual(compare(right, right, ["a"])["differing"], 0)
        self.assertIn("problem", compare(left, left[:, :, :2], ["a"]))


def run_of(side: str, number: int, speed: float, **about: Any) -> dict[str, Any]:
    """A timed run of ten images in three passes, the median one at `speed` images/s."""
    passes = [{"wall_s": 10 / speed * factor, "cpu_s": 10 / speed} for factor in (0.5, 1.0, 3.0)]
    run = {"side": side, "round": number, "images": 10, "warmups": passes[:1], "passes": passes}
    run |= {"load_before": 1.0, "other_wall_s": 0.5, "peak_bytes": 50 << 20}
    if side == targets.OURS:
        stages = dict(zip(ours.STAGES, (0.28, 0.1, 0.02), strict=True))
        return run | {"mode": ours.EXACT, "spec": specs.HF_SLOW, "stages": stages} | about
    return run | {"arrangement": "own", "import_s": 0.4, "imported_bytes": 30 << 20} | about


def document(runs: list[dict[str, Any]], two: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A stored result with runs on small photos, on one thread and on two."""
    cases = [{"set": "small", "threads": 1, "runs": runs}]
    if two is not None:
        cases.append({"set": "small", "threads": 2, "runs": two})
    return {
        "date": "2026-01-02",
        "machine": {"cpu": "CPU", "cpus": 2, "memory_bytes": 1 << 30, "system": "Linux"},
        "versions": {"sightline": "0.1.0"},
        "commands": {"ours": "sightline preprocess"},
        "photos": {"small": {"source": "generated", "images": 10, "pixels": 1000, "bytes": 500}},
        "checks": [],
        "cases": cases,
    }


class Targets(unittest.TestCase):
    """What is met."""

    def test_a_ratio_is_the_median_over_rounds_of_neighbours(self) -> None:
        runs = []
        for number, (mine, theirs) in enumerate([(30.0, 10.0), (10.0, 10.0), (40.0, 20.0)], 1):
            runs.append(run_of("ours", number, 1000.0, beside="pillow"))
            runs.append(run_of("ours", number, mine, beside="torchvision"))
            runs.append(run_of("torchvision", number, theirs))
        found = targets.against(runs, ours.EXACT, specs.HF_SLOW, "torchvision")
        self.assertEqual(found, targets.Ratio(2.0, 1.0, 3.0))

    def test_a_decoder_is_not_the_fastest_peer(self) -> None:
        runs = [run_of("pillow", 1, 10.0), run_of("opencv", 1, 20.0), run_of("torchvision-decode", 1, 90.0)]
        self.assertEqual(targets.fastest_peer(runs), "opencv")
        self.assertIsNone(targets.fastest_peer([]))

    def test_targets_are_met_missed_or_not_measured(self) -> None:
        runs = [run_of("ours", 1, 28.0, beside="pillow"), run_of("pillow", 1, 10.0)]
        two = [run_of("ours", 1, 54.0, beside="pillow")]
        met = {(one.what, one.photos): one.is_met() for one in targets.targets(document(runs, two))}
        self.assertIs(met["exact (hf-slow) : fastest peer (pillow)", "small"], True)
        self.assertIs(met["exact (hf-slow) : pillow", "small"], False)
        self.assertIs(met["exact (hf-fast) : fastest peer (pillow)", "small"], None)
        self.assertIs(met["exact mode, two threads : one", "small"], True)
        self.assertIs(met["exact mode, two threads : one", "large"], None)


class Page(unittest.TestCase):
    """The tables."""

    def test_a_row_has_the_median_of_all_passes_and_what_is_next_to_it(self) -> None:
        runs = [run_of("ours", 1, 28.0, beside="pillow"), run_of("pillow", 1, 10.0)]
        page = report.markdown(document(runs))
        self.assertIn("| sightline, exact, hf-slow | 28.0 (9.3–56.0) |", page)
        self.assertIn("| **pillow** | 10.0 (3.3–20.0) |", page)
        self.assertIn("| 2.80× (2.80–2.80); 2.80× (2.80–2.80); – |", page)
        self.assertIn("| exact (hf-slow) : pillow | small | 3.0× | 2.80× (2.80–2.80) | **not met** |", page)
        self.assertNotIn("The machine was busy", page)

    def test_a_busy_machine_is_told(self) -> None:
        page = report.markdown(document([run_of("pillow", 1, 10.0, load_before=4.5)]))
        self.assertIn("The machine was busy", page)

    def test_steps_are_for_one_image_and_count_the_warm_ups(self) -> None:
        runs = [run_of("ours", 1, 28.0, beside="pillow-decode"), run_of("pillow-decode", 1, 100.0)]
        page = report.markdown(document(runs))
        # 0.28 s over four passes of ten images.
        self.assertIn(
            "| small | exact, hf-slow | 7.00 (70%) | 2.50 (25%) | 0.50 (5%) | – | 10.00 | – |", page
        )

    def test_peers_alone_make_a_page_without_targets(self) -> None:
        page = report.markdown(document([run_of("pillow", 1, 10.0)]))
        self.assertNotIn("## Targets", page)
        self.assertIn("The pixels were not compared.", page)


if __name__ == "__main__":
    unittest.main()
