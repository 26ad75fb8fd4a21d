"""Records what lvis-api says about synthetic federated data sets: `lvis.json.gz`.

    python golden_lvis.py OUT_FOLDER

Needs lvis 0.5.3, pycocotools 2.0.11 and numpy. The program was written for numpy before 1.24 and uses
the alias `numpy.float` once; the alias is put back before it runs and nothing else is changed.
"""

from __future__ import annotations

import copy
import gzip
import importlib.metadata
import json
import logging
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

np.float = float  # type: ignore[attr-defined]

from lvis import LVIS, LVISEval, LVISResults  # noqa: E402

from synthetic_boxes import Json, Settings, draw  # noqa: E402

VERSION = "0.5.3"
SCRIPT = "benchmarks/peers/metrics/golden_lvis.py"
IMAGES = 60
CATEGORIES = list(range(1, 31))
CASES = [
    # Every rule at once.
    {"settings": Settings(seed=11, images=IMAGES, categories=CATEGORIES, ignored_share=0.06), "frequencies": "rcf"},
    # More than 300 detections in one image, with ties at the limit; no rare category.
    {"settings": Settings(seed=12, images=IMAGES, categories=CATEGORIES[:6], flood=420), "frequencies": "cf"},
]


def federated(rng: random.Random, image: Json, present: set[int], categories: list[int]) -> Json:
    """The image with its lists of absent categories and of those that are not fully annotated."""
    absent = [c for c in categories if c not in present]
    return {
        "id": image["id"],
        "neg_category_ids": sorted(rng.sample(absent, min(len(absent), rng.randint(0, 8)))),
        "not_exhaustive_category_ids": sorted(c for c in present if rng.random() < 0.2),
    }


def without_area(annotations: list[Json], rng: random.Random) -> None:
    """Gives a few annotations an area of zero, with which the program drops them."""
    for annotation in rng.sample(annotations, 3):
        annotation["area"] = 0.0


def mean(values: np.ndarray) -> float:
    """The mean of the values that are defined, -1 if none is."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


def case(settings: Settings, frequencies: str) -> Json:
    """One case with everything the program says about it."""
    images, annotations, detections = draw(settings)
    rng = random.Random(settings.seed + 1000)
    present: dict[int, set[int]] = {image["id"]: set() for image in images}
    for annotation in annotations:
        present[annotation["image_id"]].add(annotation["category_id"])
        del annotation["iscrowd"]
    without_area(annotations, rng)
    images = [federated(rng, image, present[image["id"]], settings.categories) for image in images]
    categories = [
        {"id": c, "frequency": frequencies[i % len(frequencies)]}
        for i, c in enumerate(settings.categories)
    ]

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"images": images, "categories": categories, "annotations": annotations}, file)
        file.flush()
        truth = LVIS(file.name)
    evaluation = LVISEval(truth, LVISResults(truth, copy.deepcopy(detections)), "bbox")
    evaluation.run()
    precision = evaluation.eval["precision"]  # [IoU, recall, category, area]
    recall = evaluation.eval["recall"]  # [IoU, category, area]
    ids = evaluation.params.cat_ids
    return {
        "images": images,
        "categories": categories,
        "annotations": annotations,
        "detections": detections,
        "stats": {name: float(value) for name, value in evaluation.get_results().items()},
        "ap_per_category": {str(c): mean(precision[:, :, i, 0]) for i, c in enumerate(ids)},
        "ar_per_category": {str(c): mean(recall[:, i, 0]) for i, c in enumerate(ids)},
        "pr_curve_iou75_first_category": precision[5, :, 0, 0].tolist(),
    }


def main() -> None:
    found = importlib.metadata.version("lvis")
    if found != VERSION:
        sys.exit(f"lvis is {found}, the golden file is of {VERSION}")
    logging.disable(logging.WARNING)
    header = {
        "program": "lvis",
        "version": VERSION,
        "pycocotools": importlib.metadata.version("pycocotools"),
        "numpy": np.__version__,
        "script": SCRIPT,
    }
    text = json.dumps({"header": header, "cases": [case(**each) for each in CASES]}, separators=(",", ":"))
    folder = Path(sys.argv[1])
    (folder / "lvis.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
