"""Tests of the parts of the bench that decide what is compared and reported: python3 -m unittest (in this folder)."""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import tomllib
import unittest
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import manifests  # noqa: E402
import ours  # noqa: E402
import peer  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import scenes  # noqa: E402
from driver import Failed  # noqa: E402
from families import NAMES, RECIPES, recipe_named, with_needs  # noqa: E402

WRITTEN = run.ROOT / "manifests/train"


def turn(side: str, number: int, wall_s: list[float], waited_s: float = 0.0) -> dict[str, Any]:
    """A stored run."""
    found = {"side": side, "round": number, "load_before": 0.5, "wall_s": wall_s, "cpu_s": sum(wall_s), "peak_bytes": 2**20}
    if side == "ours":
        return found | {"waited_s": [waited_s] * len(wall_s)}
    return found | {"layout": "contiguous"}


def case(recipe: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A stored case on one thread, of batches of 8 and steps of one."""
    return {"recipe": recipe, "threads": 1, "batch": 8, "steps": 1, "runs": runs}


def document(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Stored results."""
    steps = [{"ours": 2.0, "peer": 2.0, "loss": 1e-7, "gradient": 1e-6}] * 3
    return {
        "date": "2026-01-02",
        "machine": {"cpu": "CPU", "cpus": 2, "memory_bytes": 2**34, "system": "Linux"},
        "versions": {"commit": "abc", "torch": "2"},
        "commands": {"ours": "sightline train", "peer": "python peer.py"},
        "notes": [],
        "checks": [{"recipe": one["recipe"], "samples": 8, "tensors": 5, "steps": steps} for one in cases],
        "cases": cases,
        "profiles": [],
    }


def scene(key: str = "000003") -> scenes.Scene:
    """A scene of one object, whose region has two values."""
    return scenes.Scene(
        key=key,
        image=b"jpeg",
        size=(64, 64),
        description="A red square.",
        questions=[("What is it?", "square"), ("What colour?", "red"), ("How deep?", "a mile")],
        objects=[("red square", [10.0, 10.0, 30.0, 30.0])],
        regions=[[10.0, 10.0, 30.0, 30.0]],
        features=b"\0\0\x80\x3f\0\0\0\x40",
    )


class Deriving(unittest.TestCase):
    """Manifests made of recipes."""

    def test_every_recipe_becomes_a_manifest_of_one_stage_without_chance(self) -> None:
        for recipe in RECIPES:
            written = manifests.read_recipe(WRITTEN, recipe)
            for purpose in (manifests.Purpose("base", 3, 64, start=False), manifests.Purpose("check", 3, 16)):
                found = manifests.derived(written, recipe, purpose, 16)
                self.assertEqual(tomllib.loads(manifests.toml(found)), found, recipe.name)
                (stage,) = found["stage"]
                self.assertEqual((stage["objective"], stage["steps"], stage["batch"]), (recipe.objective, 3, 16))
                self.assertNotIn("evaluation", found)
                self.assertNotIn("out/train", manifests.toml(found), recipe.name)
                self.assertEqual(purpose.start, found["model"].get("start") == f"{recipe.name}/base/best", recipe.name)

    def test_recipes_that_are_needed_come_first(self) -> None:
        self.assertEqual(with_needs(("flamingo", "clip")), ("lm", "clip", "flamingo"))
        self.assertEqual(set(with_needs(NAMES)), set(NAMES))
        for recipe in RECIPES:
            model = manifests.begun_with(manifests.read_recipe(WRITTEN, recipe)["model"])
            named = {name for name in NAMES if manifests.base_checkpoint(name) in json.dumps(model)}
            self.assertEqual(named, set(recipe.needs), recipe.name)

    def test_values_of_toml_are_what_was_meant(self) -> None:
        value = {"a b": [True, 1, 1e-08, 'say "ä"'], "empty": {}, "deep": {"x": {"y": 0.5}}}
        self.assertEqual(tomllib.loads(f"v = {manifests.toml_value(value)}")["v"], value)


class Samples(unittest.TestCase):
    """What both sides read."""

    def test_questions_without_a_known_answer_are_not_asked(self) -> None:
        answers = {"red", "square"}
        found = [scenes.asked(number, scene(), answers)[1] for number in range(3)]
        self.assertEqual(found, ["square", "red", "square"])

    def test_a_shard_has_one_question_each(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shards/2.tar"
            scenes.write_shard([scene("000000"), scene("000001")], {"red", "square"}, path)
            with tarfile.open(path) as shard:
                self.assertEqual(shard.getnames()[:3], ["000000.jpg", "000000.txt", "000000.json"])
                told = json.load(shard.extractfile("000001.json"))
            self.assertEqual((told["question"], told["answer"]), ("What colour?", "red"))

    def test_proposals_are_read_back_and_lie_in_the_image(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "regions").mkdir()
            (root / "images/train").mkdir(parents=True)
            (root / "images/train/000003.jpg").write_bytes(b"jpeg")
            line = {
                "key": "000003",
                "description": "A red square.",
                "questions": [],
                "scene": {"objects": [{"colour": "red", "shape": "square"}]},
                "boxes": [[10, 10, 20, 20]],
            }
            (root / "scenes_train.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
            scenes.write_proposals([scene()], root / "regions/proposals.tsv")
            (found,) = scenes.read(root, "proposals")
        self.assertEqual(found.objects, scene().objects)
        self.assertEqual(found.regions[0], scene().regions[0])
        self.assertEqual(found.features[:8], scene().features)
        self.assertEqual(len(found.regions), 1 + scenes.NEAR + scenes.ANYWHERE)
        self.assertEqual(len(found.features), 8 * len(found.regions))
        for left, top, right, bottom in found.regions:
            self.assertTrue(0 <= left < right <= 64 and 0 <= top < bottom <= 64)


class Comparing(unittest.TestCase):
    """Losses of both sides."""

    def test_differences_are_in_proportion_and_nan_is_none(self) -> None:
        line = {"loss": 2.0, "gradient": 1.0}
        (same,) = run.compared([line], [{"loss": 4.0, "gradient": 1.0}])["steps"]
        self.assertEqual((same["loss"], same["gradient"]), (0.5, 0.0))
        (broken,) = run.compared([line], [{"loss": float("nan"), "gradient": 1.0}])["steps"]
        self.assertEqual(broken["loss"], float("inf"))
        with self.assertRaises(ValueError):
            run.compared([line, line], [line])

    def test_the_first_group_that_matches_counts(self) -> None:
        groups = [{"tensors": ["*.bias", "*norm*"], "weight_decay": 0.0}, {"tensors": ["*"], "lr": 1.0}]
        self.assertEqual(peer.group_of(groups, "a.layer_norm1.weight"), groups[0])
        self.assertEqual(peer.group_of(groups, "a.weight"), groups[1])
        self.assertEqual(peer.group_of([], "a.weight"), {})


class Watching(unittest.TestCase):
    """Our program from outside."""

    def test_samples_are_put_down_to_the_innermost_operation_and_who_called_it(self) -> None:
        text = (
            "sl 10 9.000000: \n"
            "\t 1a gemm_f32::microkernel::fma::f32::x2x6::h0123456789abcdef\n"
            "\t 1b candle_core::storage::Storage::matmul_inside\n"
            "\t 1b candle_core::tensor::Tensor::matmul\n"
            "\t 1c <sightline_nn::tracked::Map as candle_core::custom_op::CustomOp3>::bwd\n"
            "\t 1d candle_core::backprop::<impl candle_core::tensor::Tensor>::backward\n"
            "\t 1e sightline_train::run::Run::stage\n\n"
            "sl 11 9.500000: \n\t 1a [unknown]\n"
        )
        found = ours.attributed(ours.stacks(text))
        self.assertEqual([at for at, _ in ours.stacks(text)], [9.0, 9.5])
        self.assertEqual((found["samples"], found["phases"]), (2, {"backward": 0.5, "other": 0.5}))
        row = {"phase": "backward", "caller": "Map::bwd", "operation": "matmul", "share": 0.5}
        self.assertEqual(found["rows"][0], row)
        self.assertEqual(ours.attributed([])["rows"], [])

    def test_the_cpu_time_of_a_process_is_known_while_it_lives(self) -> None:
        self.assertIsNotNone(ours.cpu_s(1))
        self.assertIsNone(ours.cpu_s(2**22 + 1))
        self.assertEqual(ours.line_count(Path("/nothing/here")), 0)


class Reporting(unittest.TestCase):
    """What becomes of stored figures."""

    def test_a_ratio_is_that_of_neighbours(self) -> None:
        runs = [turn("ours", 1, [1.0, 2.0, 4.0]), turn("peer", 1, [4.0]), turn("ours", 2, [1.0]), turn("peer", 2, [3.0])]
        found = case("clip", runs)
        self.assertEqual(report.speeds(found, "ours"), [4.0, 8.0])
        self.assertEqual(report.ratios(found), [2.0, 3.0])
        self.assertFalse(report.is_missed(found))

    def test_losses_stand_beside_wins(self) -> None:
        won = case("clip", [turn("ours", 1, [1.0], waited_s=0.01), turn("peer", 1, [1.0])])
        lost = case("lm", [turn("ours", 1, [2.0], waited_s=1.0), turn("peer", 1, [1.0])])
        text = report.targets(document([won, lost]))
        self.assertIn("| clip | 1 | 8 | ≥ 0.8× | 1.00× (1.00–1.00) | met | 1.00× (1.00–1.00) | 1.0 % (≤ 1.0) |", text)
        self.assertIn("| 0.50× (0.50–0.50) | **not met** | 0.50× (0.50–0.50) | 50.0 % (≤ 50.0) **held up** |", text)
        self.assertTrue(report.is_missed(lost))

    def test_families_that_are_not_there_are_named(self) -> None:
        cases = [case(name, [turn("ours", 1, [1.0]), turn("peer", 1, [1.0])]) for name in NAMES]
        whole, part = document(cases), document(cases[:-1])
        rows = [{"name": "aten::mm", "calls": 3, "share": 0.5}]
        whole["profiles"] = [{"recipe": "clip", "ours": None, "peer": {"phases": {"forward": 1.0}, "rows": rows}}]
        text = report.markdown(whole)
        for recipe in RECIPES:
            self.assertIn(f"### {recipe.what}, 1 thread", text)
        self.assertIn("Every family of the bench is there.", text)
        self.assertIn("| `aten::mm` | 3 | 50.0 % |", text)
        self.assertIn(f"Not compared here, since they were not asked for (`--recipes`): {NAMES[-1]}.", report.markdown(part))

    def test_a_turn_whose_cpu_time_was_not_seen_has_no_ratio(self) -> None:
        runs = [turn("ours", 1, [1.0]) | {"cpu_s": None}, turn("peer", 1, [1.0])]
        self.assertEqual(report.cpu_ratios(case("clip", runs)), [])


class Joining(unittest.TestCase):
    """Results that are measured in pieces."""

    def test_new_cases_replace_those_of_the_same_name(self) -> None:
        old, new = case("lm", []), case("lm", [turn("ours", 1, [1.0])])
        both = run.joined(document([old, case("clip", [])]), document([new]), run.PARTS, NAMES)
        self.assertEqual([one["recipe"] for one in both["cases"]], ["clip", "lm"])
        self.assertEqual(len(both["cases"][1]["runs"]), 1)

    def test_results_of_another_commit_are_not_mixed(self) -> None:
        other = document([])
        other["versions"] = {"commit": "def"}
        with self.assertRaises(Failed):
            run.joined(other, document([]), run.PARTS, NAMES)

    def test_names_are_known_once(self) -> None:
        self.assertEqual(len(set(NAMES)), len(NAMES))
        self.assertEqual(recipe_named("vild").needs, ("clip",))


if __name__ == "__main__":
    unittest.main()
