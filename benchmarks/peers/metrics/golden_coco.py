"""Records what pycocotools says about synthetic boxes: `detection.json.gz`.

    python golden_coco.py OUT_FOLDER

Needs pycocotools 2.0.11 and numpy. The layout is that of the full set of golden files: a list of
cases, each with the data, the twelve numbers, AP by category and one precision-recall curve.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import importlib.metadata
import io
import json
import sys
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synthetic_boxes import Json, Settings, draw

VERSION = "2.0.11"
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
CASES = [
    # Ties, crowds, areas on the bounds, a category without annotations.
    Settings(seed=1, images=30, categories=[1, 2, 5, 90], unlabelled=[90]),
    # More than a hundred detections of one category in one image, hardly any ties.
    Settings(seed=2, images=20, categories=[3, 4], flood=160, score_decimals=6),
    # Nothing but ties and crowds.
    Settings(seed=3, images=25, categories=[7], score_decimals=0, crowd_share=0.5),
]


def evaluated(images: list[Json], categories: list[Json], annotations: list[Json], detections: list[Json]) -> COCOeval:
    """The evaluation, on copies: the program writes into what it is given."""
    truth = COCO()
    truth.dataset = copy.deepcopy(
        {"images": images, "categories": categories, "annotations": annotations}
    )
    truth.createIndex()
    found = truth.loadRes(copy.deepcopy(detections))
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def case(settings: Settings) -> Json:
    """One case with everything the program says about it."""
    images, annotations, detections = draw(settings)
    categories = [{"id": c, "name": f"c{c}"} for c in settings.categories]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluated(images, categories, annotations, detections)
    precision = evaluation.eval["precision"]  # [IoU, recall, category, area, detections]

    def category_ap(index: int) -> float:
        values = precision[:, :, index, 0, 2]
        values = values[values > -1]
        return float(np.mean(values)) if values.size else -1.0

    return {
        "images": images,
        "categories": categories,
        "annotations": annotations,
        "detections": detections,
        "stats": dict(zip(NAMES, map(float, evaluation.stats))),
        "ap_per_category": {str(c["id"]): category_ap(i) for i, c in enumerate(categories)},
        "pr_curve_iou50_first_category": precision[0, :, 0, 0, 2].tolist(),
    }


def main() -> None:
    found = importlib.metadata.version("pycocotools")
    if found != VERSION:
        sys.exit(f"pycocotools is {found}, the golden file is of {VERSION}")
    folder = Path(sys.argv[1])
    text = json.dumps([case(settings) for settings in CASES], separators=(",", ":"))
    (folder / "detection.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
