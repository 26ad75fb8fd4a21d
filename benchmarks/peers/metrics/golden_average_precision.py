"""Records what scikit-learn says about random scores and labels: `average_precision.json.gz`.

    python golden_average_precision.py OUT_FOLDER

Needs scikit-learn 1.9.1 and numpy 1.26.4. The eleven points are those of the PASCAL VOC programs, taken from
scikit-learn's precision-recall curve: at each of `numpy.arange(0, 1.1, 0.1)` the highest precision at
that recall or above.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

VERSION = "1.9.1"
SCRIPT = "benchmarks/peers/metrics/golden_average_precision.py"
POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
# Seed, images, classes, distinct scores.
CASES = [(1, 120, 5, 8), (2, 60, 6, 3), (3, 80, 4, 10**6), (4, 10, 8, 4), (5, 100, 3, 30)]


def eleven_points(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean of the interpolated precision at eleven recalls."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    # The last point is the program's own, at recall 0.
    precision, recall = precision[:-1], recall[:-1]
    points = np.arange(0.0, 1.1, 0.1)
    return float(np.mean([max(precision[recall >= point], default=0.0) for point in points]))


def case(seed: int, images: int, classes: int, levels: int) -> dict[str, Any]:
    """One case; a class without a positive label has no value."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([POSITIVE, NEGATIVE, IGNORED], size=(images, classes), p=[0.15, 0.75, 0.1])
    scores = rng.random((images, classes)) * 0.7 + 0.3 * (labels == POSITIVE)
    scores = np.round(scores * levels) / levels
    area: list[float | None] = []
    points: list[float | None] = []
    for column in range(classes):
        known = labels[:, column] != IGNORED
        truth, score = labels[known, column], scores[known, column]
        has_positive = bool((truth == POSITIVE).any())
        area.append(float(average_precision_score(truth, score)) if has_positive else None)
        points.append(eleven_points(truth, score) if has_positive else None)
    return {
        "labels": labels.tolist(),
        "scores": scores.tolist(),
        "average_precision": area,
        "eleven_points": points,
    }


def main() -> None:
    found = importlib.metadata.version("scikit-learn")
    if found != VERSION:
        sys.exit(f"scikit-learn is {found}, the golden file is of {VERSION}")
    header = {
        "program": "scikit-learn",
        "version": VERSION,
        "numpy": np.__version__,
        "script": SCRIPT,
    }
    text = json.dumps({"header": header, "cases": [case(*each) for each in CASES]}, separators=(",", ":"))
    folder = Path(sys.argv[1])
    (folder / "average_precision.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
