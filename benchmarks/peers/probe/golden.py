"""Records what scikit-learn's linear classifiers learn from random features: `probe.json.gz`.

    python golden.py OUT_FOLDER

Logistic regression is fitted to `tol=1e-10`, so that it is near its optimum. The SVM is that of VirTex's
`scripts/clf_voc07.py`, at `tol=1e-8` instead of 1e-4, since liblinear draws its order anew in each run: cost by
three-fold average precision, and the decisions of each cost.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

VERSION = "1.9.1"
SCRIPT = "benchmarks/peers/probe/golden.py"
# Seed, images, width, classes, C.
LOGISTIC = [(1, 60, 5, 3, 1.0), (2, 40, 8, 2, 0.316), (3, 80, 4, 6, 100.0), (4, 30, 12, 4, 1e-4), (5, 50, 3, 2, 1e3)]
# Seed, images, width, share of positive images.
SVM = [(11, 60, 6, 0.3), (12, 90, 16, 0.1), (13, 45, 4, 0.6)]
COSTS = [0.01, 0.1, 1.0, 10.0]


def rounded(values: np.ndarray) -> list[Any]:
    """Numbers that f32 holds."""
    return values.astype(np.float32).astype(float).tolist()


def logistic(seed: int, images: int, width: int, classes: int, c: float) -> dict[str, Any]:
    """One fit."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, images - classes)])
    corners = rng.normal(size=(classes, width))
    features = (corners[labels] + rng.normal(size=(images, width))).astype(np.float32)
    test = rng.normal(size=(20, width)).astype(np.float32)
    fitted = LogisticRegression(C=c, solver="lbfgs", tol=1e-10, max_iter=100_000)
    fitted.fit(features.astype(float), labels)
    return {
        "features": rounded(features),
        "labels": labels.tolist(),
        "classes": classes,
        "c": c,
        "test": rounded(test),
        "coefficients": fitted.coef_.tolist(),
        "intercepts": fitted.intercept_.tolist(),
        "probabilities": fitted.predict_proba(test.astype(float)).tolist(),
    }


def svm(seed: int, images: int, width: int, share: float) -> dict[str, Any]:
    """One class."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(images) < share, 1, -1)
    labels[:3] = [1, -1, 1]
    corner = rng.normal(size=width)
    features = rng.normal(size=(images, width)) + 0.7 * corner * (labels == 1)[:, None]
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    test = rng.normal(size=(20, width))
    test = (test / np.linalg.norm(test, axis=1, keepdims=True)).astype(np.float32)
    folds = np.zeros(images, dtype=int)
    for number, (_, held) in enumerate(StratifiedKFold(3).split(features, labels)):
        folds[held] = number
    best, cost = 0.0, COSTS[0]
    decisions, precisions = [], []
    for tried in COSTS:
        machine = LinearSVC(
            C=tried,
            class_weight={1: 2, -1: 1},
            penalty="l2",
            loss="squared_hinge",
            max_iter=1_000_000,
            tol=1e-8,
            random_state=0,
        )
        scores = cross_val_score(machine, features.astype(float), labels, cv=3, scoring="average_precision")
        machine.fit(features.astype(float), labels)
        decisions.append(machine.decision_function(test.astype(float)).tolist())
        precisions.append(float(scores.mean()))
        if scores.mean() > best:
            best, cost = scores.mean(), tried
    return {
        "features": rounded(features),
        "positive": (labels == 1).tolist(),
        "folds": folds.tolist(),
        "test": rounded(test),
        "costs": COSTS,
        "decisions": decisions,
        "average_precisions": precisions,
        "cost": cost,
    }


def main() -> None:
    """Writes the file and its digest."""
    found = importlib.metadata.version("scikit-learn")
    if found != VERSION:
        raise SystemExit(f"scikit-learn {found} is installed, the golden file is made with {VERSION}")
    warnings.simplefilter("error", ConvergenceWarning)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "program": f"scikit-learn {VERSION}, numpy {importlib.metadata.version('numpy')}",
        "command": f"python {SCRIPT} OUT_FOLDER",
        "logistic": [logistic(*case) for case in LOGISTIC],
        "svm": [svm(*case) for case in SVM],
    }
    data = gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0)
    (out / "probe.json.gz").write_bytes(data)
    digests = {"probe.json.gz": hashlib.sha256(data).hexdigest()}
    (out / "sha256.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
