"""The drawn scenes as files: what the peer learns from, and the shard of the families that read one.

`sightline synth scenes` writes the images and captions that `sightline train` draws in memory for the same numbers.
"""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any


Edges = list[float]
"""Left, top, right and bottom in pixels."""

NEAR, ANYWHERE = 2, 4
"""Boxes beside those of the objects: near each of them, and anywhere."""
LEAST_SIDE, MOST_SIDE = 10, 40
"""Of boxes anywhere, in pixels."""
JITTER = 0.2
"""How far the edges of a near box move, in sides of the object's box."""
NOISE = 0.2
"""Deviation of the features of a near box from those of the object."""


@dataclass(frozen=True)
class Scene:
    """A sample."""

    key: str
    image: bytes
    """JPEG."""
    size: tuple[int, int]
    description: str
    questions: list[tuple[str, str]]
    objects: list[tuple[str, Edges]]
    """Classes of objects, such as `red square`, and their boxes."""
    regions: list[Edges]
    features: bytes
    """Of each region as many values: float32, little-endian."""


def read(folder: Path, table: str = "train") -> list[Scene]:
    """The scenes of the training split, in their order, with the regions of a table."""
    regions = {}
    for line in (folder / f"regions/{table}.tsv").read_text(encoding="ascii").splitlines():
        key, width, height, count, boxes, features = line.split("\t")
        values = memoryview(base64.b64decode(boxes)).cast("f").tolist()
        edges = [values[4 * number : 4 * number + 4] for number in range(int(count))]
        regions[int(key)] = ((int(width), int(height)), edges, base64.b64decode(features))
    scenes = []
    for line in (folder / "scenes_train.jsonl").read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        size, edges, features = regions[int(row["key"])]
        names = [f"{one['colour']} {one['shape']}" for one in row["scene"]["objects"]]
        boxes = [[left, top, left + width, top + height] for left, top, width, height in row["boxes"]]
        scenes.append(
            Scene(
                key=row["key"],
                image=next((folder / "images/train").glob(f"{row['key']}.*")).read_bytes(),
                size=size,
                description=row["description"],
                questions=[(one["question"], one["answer"]) for one in row["questions"]],
                objects=list(zip(names, boxes, strict=True)),
                regions=edges,
                features=features,
            )
        )
    return scenes


def asked(number: int, scene: Scene, answers: set[str]) -> tuple[str, str]:
    """The question that is asked about the scene of this number, another kind for its neighbours, and the answer."""
    known = [pair for pair in scene.questions if pair[1] in answers]
    return known[number % len(known)]


def write_shard(scenes: list[Scene], answers: set[str], path: Path) -> None:
    """A WebDataset shard of images, with one question each where there are answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as shard:
        for number, scene in enumerate(scenes):
            told = {"key": scene.key, "description": scene.description}
            if answers:
                told |= dict(zip(("question", "answer"), asked(number, scene, answers), strict=True))
            files = {"jpg": scene.image, "txt": scene.description.encode(), "json": json.dumps(told).encode()}
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{scene.key}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    partial.rename(path)


def write_proposals(scenes: list[Scene], path: Path) -> None:
    """A table of regions: the objects' and, as when scenes are drawn for ViLD, some near them and some anywhere. What stands
    there depends on the scenes' keys only."""
    lines = []
    for scene in scenes:
        chance = random.Random(scene.key)
        edges, features = proposals(scene, chance)
        coded = [base64.b64encode(values.tobytes()).decode() for values in (edges, features)]
        size = "\t".join(map(str, scene.size))
        lines.append(f"{int(scene.key)}\t{size}\t{len(edges) // 4}\t{coded[0]}\t{coded[1]}\n")
    partial = path.with_suffix(".tmp")
    partial.write_text("".join(lines), encoding="ascii")
    partial.rename(path)


def proposals(scene: Scene, chance: random.Random) -> tuple[array[float], array[float]]:
    """The edges and features of all boxes of a scene."""
    own = array("f", scene.features)
    width = len(own) // len(scene.regions)
    edges, features = array("f", [edge for box in scene.regions for edge in box]), array("f", own)
    for number, (left, top, right, bottom) in enumerate(scene.regions):
        for _ in range(NEAR):
            moved = [chance.uniform(-JITTER, JITTER) for _ in range(4)]
            sides = (right - left, bottom - top)
            for at, (edge, move) in enumerate(zip((left, top, right, bottom), moved, strict=True)):
                edges.append(min(max(round(edge + move * sides[at % 2]), 0), scene.size[at % 2]))
            of_object = own[number * width : (number + 1) * width]
            features.extend(value + chance.gauss(0.0, NOISE) for value in of_object)
    for _ in range(ANYWHERE):
        sides = [chance.randint(LEAST_SIDE, MOST_SIDE) for _ in range(2)]
        corner = [chance.randint(0, whole - side) for whole, side in zip(scene.size, sides, strict=True)]
        edges.extend([*corner, corner[0] + sides[0], corner[1] + sides[1]])
        features.extend(chance.gauss(0.0, 0.5) for _ in range(width))
    return edges, features
