"""The drawn scenes as files: what the peer learns from, and the shard of the families that read one.

`sightline synth scenes` writes the images and captions that `sightline train` draws in memory for the same numbers.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scene:
    """A sample."""

    key: str
    image: bytes
    """JPEG."""
    size: tuple[int, int]
    description: str
    questions: list[tuple[str, str]]
    regions: list[list[float]]
    """Left, top, right and bottom in pixels."""
    features: bytes
    """Of each region as many values: float32, little-endian."""


def read(folder: Path) -> list[Scene]:
    """The scenes of the training split, in their order."""
    regions = {}
    for line in (folder / "regions/train.tsv").read_text(encoding="ascii").splitlines():
        key, _, _, count, boxes, features = line.split("\t")
        values = memoryview(base64.b64decode(boxes)).cast("f").tolist()
        edges = [values[4 * number : 4 * number + 4] for number in range(int(count))]
        regions[int(key)] = (edges, base64.b64decode(features))
    scenes = []
    for line in (folder / "scenes_train.jsonl").read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        edges, features = regions[int(row["key"])]
        scenes.append(
            Scene(
                key=row["key"],
                image=next((folder / "images/train").glob(f"{row['key']}.*")).read_bytes(),
                size=(64, 64),
                description=row["description"],
                questions=[(one["question"], one["answer"]) for one in row["questions"]],
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
    """A WebDataset shard of images with one question each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as shard:
        for number, scene in enumerate(scenes):
            question, answer = asked(number, scene, answers)
            told = {"key": scene.key, "description": scene.description, "question": question, "answer": answer}
            files = {"jpg": scene.image, "txt": scene.description.encode(), "json": json.dumps(told).encode()}
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{scene.key}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    partial.rename(path)
