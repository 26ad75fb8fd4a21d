"""Compares two folders of shards that were made from one table.

    check.py --ours FOLDER --peer FOLDER [--fast FOLDER] --photos FOLDER --sample 200

Both must have the same rows with the same status, width and height, and an image for each success. Of some images it
also says how far each side's pixels are from the reference: OpenCV's decoding, resize by area or Lanczos and border, not
encoded. With `--fast`, a folder that was made with `--decode fast`, the same of that, and how far it is from ours, on
average and at most. Prints JSON; exits with 1 where the sides differ in rows, status or sizes.

Run by the Python of .venv/fetch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pandas as pd

SIZE = 256
COLUMNS = ["url", "status", "width", "height"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compares two folders of shards.")
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--fast", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=200)
    arguments = parser.parse_args()
    tables = {side: table(getattr(arguments, side)) for side in ("ours", "peer")}
    problems = differences(tables["ours"], tables["peer"])
    if arguments.fast is not None:
        problems += differences(table(arguments.fast), tables["ours"])
    result: dict[str, Any] = {
        "rows": len(tables["ours"]),
        "images": int((tables["ours"]["status"] == "success").sum()),
        "problems": problems,
    }
    if not problems:
        result["pixels"] = pixels(arguments, tables["ours"])
    print(json.dumps(result))
    return 1 if problems else 0


def table(folder: Path) -> pd.DataFrame:
    """All status tables of a folder, by key."""
    parts = [pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))]
    if not parts:
        raise SystemExit(f"no status table in {folder.name}")
    return pd.concat(parts).set_index("key").sort_index()


def differences(ours: pd.DataFrame, peer: pd.DataFrame) -> list[str]:
    """What is not the same, in words."""
    if not ours.index.equals(peer.index):
        return [f"ours has {len(ours)} keys, the peer {len(peer)}, and they are not the same"]
    found = []
    for column in COLUMNS:
        differ = ~((ours[column] == peer[column]) | (ours[column].isna() & peer[column].isna()))
        if differ.any():
            key = differ[differ].index[0]
            found.append(
                f"{int(differ.sum())} rows differ in `{column}`, the first is {key}: "
                f"{ours[column][key]} and {peer[column][key]}"
            )
    return found


def pixels(arguments: argparse.Namespace, rows: pd.DataFrame) -> dict[str, float]:
    """Absolute differences in levels over a sample: the mean, and the largest of a channel of a pixel."""
    done = rows[rows["status"] == "success"]
    keys = list(done.index[:: max(1, len(done) // arguments.sample)])
    names = ["ours", "peer", *(["fast"] if arguments.fast is not None else [])]
    sides = {side: images(getattr(arguments, side), set(keys)) for side in names}
    pairs = [(side, "reference") for side in names] + [("ours", "peer")] + [("fast", "ours") for _ in names[2:]]
    sums = {f"{one}_to_{other}": 0.0 for one, other in pairs}
    most = {f"{one}_to_{other}_at_most": 0.0 for one, other in pairs}
    for key in keys:
        file = arguments.photos / urlsplit(done["url"][key]).path.lstrip("/")
        pictures = {side: decoded(sides[side][key]) for side in names} | {"reference": reference(file)}
        for one, other in pairs:
            difference = np.abs(pictures[one] - pictures[other])
            sums[f"{one}_to_{other}"] += float(difference.mean())
            most[f"{one}_to_{other}_at_most"] = max(most[f"{one}_to_{other}_at_most"], float(difference.max()))
    return {"images": len(keys), **{name: total / len(keys) for name, total in sums.items()}, **most}


def images(folder: Path, keys: set[str]) -> dict[str, bytes]:
    """The image files of some keys, from all shards."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if extension == "jpg" and key in keys:
                    file = tar.extractfile(member)
                    if file is not None:
                        found[key] = file.read()
    missing = keys - found.keys()
    if missing:
        raise SystemExit(f"{folder.name}: {len(missing)} images are not in the shards, such as {min(missing)}")
    return found


def decoded(file: bytes) -> np.ndarray[Any, Any]:
    """Blue, green, red as numbers that can be subtracted."""
    return as_colour(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)).astype(np.int16)


def as_colour(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Grey as colour."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image


def reference(file: Path) -> np.ndarray[Any, Any]:
    """What should be stored, before it is encoded: the longer side to 256, white around it."""
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    height, width = image.shape[:2]
    scale = SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if max(height, width) > SIZE else cv2.INTER_LANCZOS4
    image = as_colour(cv2.resize(image, size, interpolation=interpolation))
    left, top = (SIZE - size[0]) // 2, (SIZE - size[1]) // 2
    image = cv2.copyMakeBorder(
        image, top, SIZE - size[1] - top, left, SIZE - size[0] - left, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    return image.astype(np.int16)


if __name__ == "__main__":
    sys.exit(main())
