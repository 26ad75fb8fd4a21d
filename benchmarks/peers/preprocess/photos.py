"""The photos of the bench: chosen from a folder by size, composed, or generated.

    photos.py [--photos DIR] --small 64 --large 16 --out FOLDER

writes `FOLDER/photos.json`, which says for each set where its files come from and lists them, and below
FOLDER the files that it had to make:

* `small`, about 500×375, and `large`, about 2000×1500: the baseline colour JPEGs of that size in DIR,
  spread evenly over their names.
* If DIR has too few large ones, they are composed of 4×4 of its photos, cut to 500×375 and stored side by
  side at quality 90 with 4:2:0, which comes to about a third of a byte for each pixel.
* Without DIR both sets are generated from a fixed seed: noise whose spectrum falls off like that of
  photos, with shapes that have edges.
* `odd`, for the check only: pieces of the small ones with sizes that round in the resize and the crop,
  in every chroma subsampling, and in grey.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

SEED = 20
QUALITY = 90
TILE = (500, 375)
TILES_A_SIDE = 4
FALLOFF = 1.2
"""The exponent of the generated spectra: that of photos is 1 to 1.3."""
FEWEST = 8
"""A folder with fewer photos of a size than this has none."""

ODD_SIZES = (
    (427, 320),
    (320, 427),
    (301, 201),
    (223, 300),
    (299, 224),
    (150, 101),
    (375, 333),
    (496, 330),
)
"""Long sides that leave 0 to 3 modulo 4 to crop, enlarging, a side that fits as it is."""


@dataclass(frozen=True)
class Sizes:
    """What counts as about one size: the long side and the short side, both inclusive."""

    long: tuple[int, int]
    short: tuple[int, int]
    typical: tuple[int, int]

    def has(self, width: int, height: int) -> bool:
        """Whether an image is of this size, upright or not."""
        long, short = max(width, height), min(width, height)
        return self.long[0] <= long <= self.long[1] and self.short[0] <= short <= self.short[1]


SMALL = Sizes(long=(480, 520), short=(320, 400), typical=TILE)
LARGE = Sizes(long=(1800, 2200), short=(1350, 1650), typical=(2000, 1500))


@dataclass(frozen=True)
class JpegHeader:
    """What the start of frame says."""

    is_baseline: bool
    width: int
    height: int
    components: int

    def is_baseline_colour(self) -> bool:
        """What the sets are made of."""
        return self.is_baseline and self.components == 3


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Reads as far as the start of frame; nothing when it is no JPEG or has none."""
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame and len(segment) >= 6:
            height, width = (int.from_bytes(segment[i : i + 2], "big") for i in (1, 3))
            return JpegHeader(marker == 0xC0 and segment[0] == 8, width, height, segment[5])
        at += 2 + length
    return None


def photos_of(folder: Path, sizes: Sizes) -> list[Path]:
    """The baseline colour JPEGs of a size, by name."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        header = jpeg_header(path.read_bytes())
        if header and header.is_baseline_colour() and sizes.has(header.width, header.height):
            found.append(path)
    return found


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of them, at even distances."""
    if len(paths) <= count:
        return list(paths)
    return [paths[i * len(paths) // count] for i in range(count)]


def tiles_of(folder: Path) -> list[Image.Image]:
    """Photos that hold a tile, cut to it around their centre."""
    from PIL import Image

    tiles = []
    for path in sorted(folder.iterdir()):
        header = jpeg_header(path.read_bytes()) if path.suffix.lower() in (".jpg", ".jpeg") else None
        if header is None or header.width < TILE[0] or header.height < TILE[1]:
            continue
        left, top = (header.width - TILE[0]) // 2, (header.height - TILE[1]) // 2
        with Image.open(path) as image:
            tiles.append(image.convert("RGB").crop((left, top, left + TILE[0], top + TILE[1])))
    return tiles


def composed(tiles: Sequence[Image.Image], count: int) -> Iterator[Image.Image]:
    """Pictures of 4×4 tiles; every tile is used once before one is used again."""
    from PIL import Image

    order = random.Random(SEED)
    left: list[Image.Image] = []
    for _ in range(count):
        picture = Image.new("RGB", LARGE.typical)
        for cell in range(TILES_A_SIDE**2):
            if not left:
                left = order.sample(list(tiles), len(tiles))
            row, column = divmod(cell, TILES_A_SIDE)
            picture.paste(left.pop(), (column * TILE[0], row * TILE[1]))
        yield picture


def generated(size: tuple[int, int], count: int) -> Iterator[Image.Image]:
    """Pictures whose statistics are like those of photos: amplitudes fall off with the frequency."""
    import numpy as np
    from PIL import Image, ImageDraw

    width, height = size
    draw_from = np.random.default_rng([SEED, width, height])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    falloff = np.maximum(frequency, 1 / max(size)) ** -FALLOFF

    def noise() -> Any:
        phases = np.exp(2j * np.pi * draw_from.random(falloff.shape))
        plane = np.fft.irfft2(falloff * phases, (height, width))
        return plane / plane.std()

    for _ in range(count):
        # Mostly brightness, which the three channels share.
        light = noise()
        planes = [128 + 45 * light + 12 * noise() for _ in range(3)]
        picture = Image.fromarray(np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8))
        shapes = Image.new("RGBA", size)
        draw = ImageDraw.Draw(shapes)
        for _ in range(12):
            x, y = draw_from.random(2) * size
            reach = draw_from.random() * width / 6
            colour = tuple(int(value) for value in draw_from.integers(0, 256, 3))
            draw.ellipse((x - reach, y - reach / 2, x + reach, y + reach / 2), fill=(*colour, 160))
        picture.paste(shapes, mask=shapes)
        yield picture


def odd_pieces(paths: Sequence[Path]) -> Iterator[tuple[Image.Image, int]]:
    """Pieces from the upper left corner of photos, and the chroma subsampling for each."""
    from PIL import Image

    for number, (size, path) in enumerate(zip(ODD_SIZES, paths, strict=False)):
        with Image.open(path) as image:
            piece = image.convert("RGB")
        # A tall photo lies down for a wide piece, and the other way round.
        if (size[0] > size[1]) != (piece.width > piece.height):
            piece = piece.transpose(Image.Transpose.ROTATE_90)
        piece = piece.crop((0, 0, *size))
        yield (piece.convert("L") if number == len(ODD_SIZES) - 1 else piece), number % 3


def written(pictures: Iterator[Image.Image], folder: Path) -> list[Path]:
    """Stores pictures as the JPEGs of a set."""
    return [write_jpeg(picture, folder / f"{number:03}.jpg") for number, picture in enumerate(pictures)]


def write_jpeg(picture: Image.Image, path: Path, subsampling: int = 2) -> Path:
    """Stores one picture; the subsampling is 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    options = {} if picture.mode == "L" else {"subsampling": subsampling}
    picture.save(data, "JPEG", quality=QUALITY, **options)
    path.write_bytes(data.getvalue())
    return path


def about(source: str, paths: Sequence[Path]) -> dict[str, Any]:
    """A set as it is stored: where from, how much, which."""
    digest, pixels, size_bytes = hashlib.sha256(), 0, 0
    for path in paths:
        data = path.read_bytes()
        header = jpeg_header(data)
        if header is None:
            raise ValueError(f"`{path}` is no JPEG")
        digest.update(data)
        pixels += header.width * header.height
        size_bytes += len(data)
    return {
        "source": source,
        "images": len(paths),
        "pixels": pixels,
        "bytes": size_bytes,
        "sha256": digest.hexdigest(),
        "files": [str(path) for path in paths],
    }


def sets(folder: Path | None, small: int, large: int, work: Path) -> dict[str, dict[str, Any]]:
    """Chooses or makes all sets."""
    found: dict[str, dict[str, Any]] = {}
    small_paths = photos_of(folder, SMALL) if folder else []
    if folder and len(small_paths) < FEWEST:
        raise SystemExit(
            f"`{folder}` has {len(small_paths)} baseline colour JPEGs of about 500×375, "
            f"{FEWEST} are the fewest; without a folder the photos are generated"
        )
    if folder:
        found["small"] = about(f"photos of the folder `{folder.name}`", spread(small_paths, small))
    else:
        small_paths = written(generated(SMALL.typical, max(small, FEWEST)), work / "small")
        found["small"] = about(f"generated, seed {SEED}", small_paths[:small])

    large_paths = photos_of(folder, LARGE) if folder else []
    if folder and len(large_paths) >= FEWEST:
        found["large"] = about(f"photos of the folder `{folder.name}`", spread(large_paths, large))
    elif folder and (tiles := tiles_of(folder)):
        source = (
            f"each composed of {TILES_A_SIDE}×{TILES_A_SIDE} photos of the folder `{folder.name}`, "
            f"which has too few of this size; quality {QUALITY}, 4:2:0"
        )
        found["large"] = about(source, written(composed(tiles, large), work / "large"))
    else:
        pictures = generated(LARGE.typical, large)
        found["large"] = about(f"generated, seed {SEED}", written(pictures, work / "large"))

    pieces = odd_pieces(small_paths)
    odd_paths = [
        write_jpeg(piece, work / "odd" / f"{piece.width}x{piece.height}.jpg", subsampling)
        for piece, subsampling in pieces
    ]
    found["odd"] = about("pieces of small photos, in sizes that round", odd_paths)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Chooses or makes the photos of the bench.")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--small", type=int, required=True)
    parser.add_argument("--large", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = sets(arguments.photos, arguments.small, arguments.large, arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    (arguments.out / "photos.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
