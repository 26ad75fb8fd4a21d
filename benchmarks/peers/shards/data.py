"""Writes the samples of the shards bench as WebDataset archives.

    data.py --photos DIR --out FOLDER --samples 10000

The photos are taken in turn, the short side made 256 pixels (Pillow, Lanczos), stored as JPEG; each time a photo comes
again its quality is another, so that no two files are equal for a while. Archives of up to 1,000 samples, each with `jpg`, `txt`
and `json`, as `webdataset.TarWriter` writes them. Does nothing where the folder holds the same already.

Run by the Python of .venv/shards.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from pathlib import Path

import webdataset
from PIL import Image

SIDE = 256
PER_SHARD = 1000
MIN_SHARDS = 4
"""So that there is one for each worker."""
QUALITIES = (90, 95, 85, 92, 88, 94, 86, 91, 89, 93, 87)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the samples of the shards bench.")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, required=True)
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.glob("*.jpg"))
    if not photos:
        raise SystemExit(f"no photos in {arguments.photos}")
    per_shard = max(1, min(PER_SHARD, -(-arguments.samples // MIN_SHARDS)))
    about = {"photos": [photo.name for photo in photos], "samples": arguments.samples, "per_shard": per_shard}
    wanted = json.dumps(about | {"side": SIDE})
    marker = arguments.out / "complete.json"
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    small = [shrunk(photo) for photo in photos]
    for shard in range(-(-arguments.samples // per_shard)):
        with webdataset.TarWriter(str(arguments.out / f"{shard:05d}.tar")) as writer:
            for i in range(shard * per_shard, min(arguments.samples, (shard + 1) * per_shard)):
                writer.write(sample(i, photos[i % len(photos)], small[i % len(photos)], i // len(photos)))
    marker.write_text(wanted, encoding="utf-8")


def shrunk(photo: Path) -> Image.Image:
    """The photo with a short side of 256 pixels."""
    image = Image.open(photo).convert("RGB")
    scale = SIDE / min(image.size)
    size = tuple(max(SIDE, round(side * scale)) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def sample(i: int, photo: Path, image: Image.Image, turn: int) -> dict[str, object]:
    """The sample number `i`."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITIES[turn % len(QUALITIES)])
    meta = {"url": f"https://a.example/{photo.name}?n={turn}", "width": image.width, "height": image.height, "score": i / 7}
    return {"__key__": f"{i:09d}", "jpg": file.getvalue(), "txt": f"photo {i} of {photo.stem}", "json": meta}


if __name__ == "__main__":
    main()
