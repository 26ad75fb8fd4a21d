"""Writes the photos and tables of URLs of the fetch bench.

    data.py --photos DIR --out FOLDER --repeat 32 --large 24 --large-repeat 16 --base URL

FOLDER/photos holds links to the JPEG files of DIR and, below `large`, pictures of 2000×1500 made of 4×4 of them side by
side, each cut to 500×375, quality 90. FOLDER/small.csv and large.csv name each picture `repeat` times, told apart by a
query string, which the server ignores. Prints what there is as JSON.

Run by the Python of .venv/fetch: it uses OpenCV.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

TILE = (500, 375)
"""Width and height of a piece."""
SIDE = 4
"""Pieces along each side."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the photos and tables of URLs of the fetch bench.")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--large", type=int, required=True)
    parser.add_argument("--large-repeat", type=int, required=True)
    arguments = parser.parse_args()

    folder = arguments.out / "photos"
    (folder / "large").mkdir(parents=True, exist_ok=True)
    photos = sorted(arguments.photos.glob("*.jpg"))
    for photo in photos:
        link = folder / photo.name
        if not link.exists():
            link.symlink_to(photo.resolve())
    composed = compose(photos, arguments.large, folder / "large")
    sets = {"small": (photos, arguments.repeat, ""), "large": (composed, arguments.large_repeat, "large/")}
    found = {}
    for name, (files, repeat, below) in sets.items():
        urls = [f"{arguments.base}/{below}{file.name}?n={n}" for n in range(repeat) for file in files]
        (arguments.out / f"{name}.csv").write_text("\n".join(["url", *urls]) + "\n", encoding="utf-8")
        found[name] = about(files, len(urls))
    print(json.dumps(found))


def compose(photos: list[Path], count: int, folder: Path) -> list[Path]:
    """`count` large pictures."""
    width, height = TILE
    decoded = (cv2.imread(str(photo), cv2.IMREAD_COLOR) for photo in photos)
    tiles = [image[:height, :width] for image in decoded if image.shape[0] >= height and image.shape[1] >= width]
    if not tiles:
        raise SystemExit(f"no photo is at least {width}×{height}")
    files = []
    for number in range(count):
        picked = [tiles[(number * 7 + at * 5) % len(tiles)] for at in range(SIDE * SIDE)]
        rows = [np.hstack(picked[at : at + SIDE]) for at in range(0, SIDE * SIDE, SIDE)]
        file = folder / f"{number:03}.jpg"
        cv2.imwrite(str(file), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 90])
        files.append(file)
    return files


def about(files: list[Path], urls: int) -> dict[str, Any]:
    """Sizes of a set."""
    sizes = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED).shape for file in files]
    return {
        "pictures": len(files),
        "urls": urls,
        "mean_pixels": sum(height * width for height, width, *_ in sizes) / len(files),
        "mean_bytes": sum(file.stat().st_size for file in files) / len(files),
    }


if __name__ == "__main__":
    main()
