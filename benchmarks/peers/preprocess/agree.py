"""Compares the pixels of two sides: how many values differ, by how much, and where most.

    agree.py --ours OURS --reference REFERENCE --images images.json

Each side is a `.npy` or a `.safetensors` with `pixel_values`, both `[N, 3, 224, 224]` float32, in the
order of the paths in `images.json`. Prints one JSON object. A level is a step of 8-bit pixels: the
normalised difference times 255 and the standard deviation of its channel.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from specs import STD

CHANNELS = ("red", "green", "blue")


def load(path: Path) -> Any:
    """The pixels of one side."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)["pixel_values"]
    return np.load(path)


def compare(ours: Any, reference: Any, images: Sequence[str]) -> dict[str, Any]:
    """The size of the differences. A value that is no number differs infinitely from all but itself."""
    expected = (len(images), 3)
    if ours.shape != reference.shape or ours.shape[:2] != expected or ours.ndim != 4:
        return {"problem": f"shapes {list(ours.shape)} and {list(reference.shape)} for {len(images)} images"}
    if ours.dtype != np.float32 or reference.dtype != np.float32:
        return {"problem": f"types {ours.dtype} and {reference.dtype}, not float32"}
    both_nan = np.isnan(ours) & np.isnan(reference)
    with np.errstate(invalid="ignore"):
        differences = np.abs(ours.astype(np.float64) - reference)
    differences = np.where(both_nan | (ours == reference), 0.0, np.nan_to_num(differences, nan=np.inf))
    levels = differences * (255 * np.array(STD).reshape(1, 3, 1, 1))
    where = np.unravel_index(int(differences.argmax()), differences.shape)
    image, channel, row, column = (int(index) for index in where)
    return {
        "images": len(images),
        "differing_images": int((differences.max(axis=(1, 2, 3)) > 0).sum()),
        "values": int(differences.size),
        "differing": int((differences > 0).sum()),
        "max": float(differences[where]),
        "mean": float(differences.mean()),
        "max_levels": float(levels.max()),
        "mean_levels": float(levels.mean()),
        "worst": {
            "image": Path(images[image]).name,
            "channel": CHANNELS[channel],
            "row": row,
            "column": column,
            "ours": float(ours[where]),
            "reference": float(reference[where]),
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compares the pixels of two sides.")
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    arguments = parser.parse_args()
    images = json.loads(arguments.images.read_text(encoding="utf-8"))
    print(json.dumps(compare(load(arguments.ours), load(arguments.reference), images)))


if __name__ == "__main__":
    main()
