"""Times our COCO box numbers beside those of pycocotools on synthetic boxes of the size of COCO val.

    cargo build --release -p sightline-metrics --example coco_boxes
    python boxes.py EXECUTABLE [--images 5000] [--rounds 3] [--resamples 1000]

Needs pycocotools 2.0.11 and numpy. Both sides read the same two files, each in a process of its own, one
after the other (A B A B); they are timed only after their values were found equal within 1e-9. Prints
a table on stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]

CATEGORIES = 80
BOXES_PER_IMAGE = 7.2
DETECTIONS_PER_IMAGE = 100
NAMES = {
    "coco-ap": 0,
    "coco-ap50": 1,
    "coco-ap75": 2,
    "coco-ap.small": 3,
    "coco-ap.medium": 4,
    "coco-ap.large": 5,
    "coco-ar@1": 6,
    "coco-ar@10": 7,
    "coco-ar@100": 8,
    "coco-ar@100.small": 9,
    "coco-ar@100.medium": 10,
    "coco-ar@100.large": 11,
}


def synthetic(images: int, seed: int) -> tuple[Json, list[Json]]:
    """Annotations and results: a few categories an image, detections near objects and anywhere."""
    rng = np.random.default_rng(seed)
    annotations: list[Json] = []
    results: list[Json] = []

    def boxes(count: int) -> np.ndarray:
        sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 1))) * rng.uniform(0.6, 1.6, (count, 2))
        corners = rng.uniform(0, 1, (count, 2)) * [640, 480]
        return np.concatenate([corners, sides], axis=1)

    for image in range(1, images + 1):
        present = rng.integers(1, CATEGORIES + 1, size=rng.integers(1, 6))
        count = int(rng.poisson(BOXES_PER_IMAGE))
        truths = boxes(count)
        categories = rng.choice(present, count)
        for box, category in zip(truths, categories):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(category),
                    "bbox": [round(float(v), 2) for v in box],
                    "area": round(float(box[2] * box[3] * rng.uniform(0.5, 1)), 2),
                    "iscrowd": int(rng.random() < 0.012),
                }
            )
        near = min(3 * count, DETECTIONS_PER_IMAGE)
        owners = rng.integers(0, count, near) if count else np.zeros(0, dtype=int)
        moved = truths[owners]
        moved = moved + rng.normal(0, 0.08, moved.shape) * moved[:, [2, 3, 2, 3]]
        far = boxes(DETECTIONS_PER_IMAGE - near)
        guesses = np.concatenate([present, rng.integers(1, CATEGORIES + 1, size=10)])
        found_boxes = np.concatenate([moved, far])
        found_categories = np.concatenate([categories[owners], rng.choice(guesses, len(far))])
        scores = np.concatenate([rng.beta(3, 2, near), rng.beta(1, 6, len(far))])
        for box, category, score in zip(found_boxes, found_categories, scores):
            results.append(
                {
                    "image_id": image,
                    "category_id": int(category),
                    "bbox": [round(float(v), 2) for v in box],
                    "score": round(float(score), 5),
                }
            )
    data = {
        "images": [{"id": image} for image in range(1, images + 1)],
        "categories": [{"id": c, "name": str(c)} for c in range(1, CATEGORIES + 1)],
        "annotations": annotations,
    }
    return data, results


def reference(annotations: str, results: str) -> Json:
    """pycocotools, step by step; runs in a process of its own."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    seconds: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        clock = time.perf_counter()

        def lap(step: str) -> None:
            nonlocal clock
            seconds[step] = time.perf_counter() - clock
            clock = time.perf_counter()

        truth = COCO(annotations)
        found = truth.loadRes(results)
        lap("read")
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        lap("evaluate")
        evaluation.accumulate()
        lap("accumulate")
        evaluation.summarize()
        lap("summarize")
    return {"values": {name: evaluation.stats[i] for name, i in NAMES.items()}, "seconds": seconds}


def timed(command: list[str], threads: int) -> Json:
    """What `command` prints, with the wall time and peak memory of its process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "RAYON_NUM_THREADS": str(threads)}
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    answer = json.loads(output)
    answer["wall"] = time.perf_counter() - start
    answer["cpu"] = usage.ru_utime + usage.ru_stime
    answer["peak_mib"] = usage.ru_maxrss / 1024
    return answer


def check(ours: Json, theirs: Json) -> None:
    """Ends the program unless all twelve values agree."""
    for name, expected in theirs["values"].items():
        found = ours["values"][name]
        if abs((-1.0 if found is None else found) - expected) > 1e-9:
            sys.exit(f"{name}: {found} instead of {expected}")


def row(name: str, runs: list[Json], steps: list[str]) -> str:
    """A line of the table: medians."""
    computed = [sum(run["seconds"][step] for step in steps) for run in runs]
    walls = [run["wall"] for run in runs]
    cpus = [run["cpu"] for run in runs]
    peaks = [run["peak_mib"] for run in runs]
    spread = max(walls) - min(walls)
    return (
        f"| {name} | {statistics.median(computed):.3f} | {statistics.median(walls):.2f} | {spread:.2f} "
        f"| {statistics.median(cpus):.2f} | {statistics.median(peaks):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executable")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--reference", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference:
        print(json.dumps(reference(*arguments.reference)))
        return

    with tempfile.TemporaryDirectory() as folder:
        data, results = synthetic(arguments.images, seed=17)
        files = [str(Path(folder) / name) for name in ("annotations.json", "results.json")]
        for file, content in zip(files, (data, results)):
            Path(file).write_text(json.dumps(content))
        peer = [sys.executable, __file__, arguments.executable, "--reference", *files]
        own = [arguments.executable, *files]
        sides: dict[str, list[Json]] = {"peer": [], "one": [], "two": []}
        for _ in range(arguments.rounds):
            sides["peer"].append(timed(peer, 1))
            sides["one"].append(timed(own, 1))
            sides["two"].append(timed(own, 2))
            check(sides["one"][-1], sides["peer"][-1])
            check(sides["two"][-1], sides["peer"][-1])
        print(f"{len(data['images'])} images, {len(data['annotations'])} boxes, {len(results)} detections,")
        print(f"{arguments.rounds} rounds, medians; values equal within 1e-9\n")
        print("| side | evaluate and accumulate, s | whole process, s | spread, s | CPU, s | peak, MiB |")
        print("| --- | --- | --- | --- | --- | --- |")
        print(row("pycocotools", sides["peer"], ["evaluate", "accumulate", "summarize"]))
        print(row("ours, 1 thread", sides["one"], ["items", "values"]))
        print(row("ours, 2 threads", sides["two"], ["items", "values"]))
        if arguments.resamples:
            answer = timed([*own, str(arguments.resamples)], 2)
            print(f"\nSeconds for {arguments.resamples} resamples on 2 threads:", end=" ")
            print(", ".join(f"{name} {answer['seconds'][name]:.2f}" for name in NAMES))
            print(f"Comparison of two models by coco-ap, {arguments.resamples} resamples and as many swaps:", end=" ")
            print(f"{answer['seconds']['comparison']:.2f} s")


if __name__ == "__main__":
    main()
