"""Makes the captions that both sides of the metrics bench score.

    data.py --images 1000 --out DIR [--fixtures DIR]

writes `references.json` (a COCO caption file), `predictions.json` (a COCO results file) and
`source.json` (what they were made of) into DIR.

With a fixtures folder that holds `coco.refs.jsonl.gz` and `coco.human.jsonl.gz` the captions are
those: people's captions of 2,000 COCO images, and one left-out caption for each as the candidate.
Without it they are composed here, from a fixed seed. More images than there are come from repetition:
image `i` of repetition `r` has the id `r * 10_000_000 + i`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURE_REFERENCES = "coco.refs.jsonl.gz"
FIXTURE_CANDIDATES = "coco.human.jsonl.gz"
COMPOSED_IMAGES = 2_000
SEED = 20_150_401
REPETITION = 10_000_000
"""Above every COCO image id."""


@dataclass(frozen=True)
class Image:
    """The captions of one image."""

    id: int
    references: list[str]
    candidate: str


# Captions from the fixtures


def fixture_images(folder: Path) -> list[Image]:
    """The images of the golden files, in their order."""
    candidates = {row["id"]: row["hyp"] for row in read_lines(folder / FIXTURE_CANDIDATES)}
    return [
        Image(row["id"], row["refs"], candidates[row["id"]])
        for row in read_lines(folder / FIXTURE_REFERENCES)
    ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a compressed JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# Captions of our own

PEOPLE = [
    ("A man", "A guy", "A person", "One man"),
    ("A woman", "A lady", "A young woman", "Someone"),
    ("A little girl", "A child", "A small girl", "A kid"),
    ("A young boy", "A boy", "A kid", "A small child"),
    ("Two men", "A couple of men", "Two guys", "Two people"),
    ("A group of people", "Several people", "Some people", "A crowd"),
    ("Three friends", "Three people", "A few friends", "Three adults"),
    ("An old man", "An elderly man", "A grandfather", "An older gentleman"),
    ("A tennis player", "An athlete", "A player", "A sportsman"),
    ("A skateboarder", "A skater", "A teenager", "A young man"),
]
ACTIONS = [
    ("riding a bike", "riding a bicycle", "on a bicycle", "cycling"),
    ("eating a slice of pizza", "having some pizza", "eating pizza", "biting into a pizza slice"),
    ("holding a red umbrella", "carrying an umbrella", "standing under an umbrella", "with an umbrella"),
    ("playing a video game", "playing the Wii", "holding a game controller", "playing video games"),
    ("flying a kite", "trying to fly a kite", "watching a colorful kite", "with a kite in the air"),
    ("talking on a cell phone", "using a cellphone", "looking at a phone", "making a phone call"),
    ("cutting a birthday cake", "slicing a cake", "about to cut the cake", "next to a large cake"),
    ("throwing a frisbee", "catching a frisbee", "playing frisbee", "jumping for a Frisbee"),
    ("walking a dog", "walking with a brown dog", "holding a dog's leash", "taking a puppy for a walk"),
    ("sitting on a wooden bench", "resting on a bench", "seated on a bench", "sitting down"),
    ("swinging a tennis racket", "hitting a ball", "serving a tennis ball", "playing tennis"),
    ("waiting for the train", "waiting at the station", "standing by a train", "watching a train arrive"),
    ("doing a trick on a skateboard", "jumping a skateboard", "skateboarding", "performing a stunt"),
    ("petting a black-and-white cat", "stroking a cat", "holding a kitten", "playing with a cat"),
    ("cooking in a large pan", "preparing a meal", "making dinner", "stirring a pot"),
    ("brushing his teeth", "brushing teeth", "holding a toothbrush", "using a tooth brush"),
    ("taking a picture", "taking photos", "photographing something", "holding a camera"),
    ("reading the newspaper", "reading a paper", "looking at a newspaper", "holding a newspaper"),
    ("feeding a giraffe", "giving food to a giraffe", "reaching out to a giraffe", "near two giraffes"),
    ("pouring a glass of wine", "drinking wine", "holding a wine glass", "tasting some wine"),
]
PLACES = [
    ("in the park", "at a park", "on the grass", "in a grassy field"),
    ("on a busy street", "in the street", "on a city street", "near some parked cars"),
    ("in the kitchen", "in a small kitchen", "next to the stove", "near a refrigerator"),
    ("on the beach", "at the beach", "by the ocean", "in the sand"),
    ("in a living room", "on the couch", "in front of a TV", "on a sofa"),
    ("at a restaurant", "at a table", "at a dining table", "in a cafe"),
    ("in the snow", "on a snowy hill", "on a snow-covered slope", "in the mountains"),
    ("in front of a brick building", "outside a building", "near a brick wall", "by a red wall"),
    ("under a large tree", "beneath a tree", "in the shade", "beside some trees"),
    ("at the zoo", "inside an enclosure", "behind a fence", "in a zoo"),
    ("at night", "in the dark", "under the street lights", "late in the evening"),
    ("in a bathroom", "in front of a mirror", "near the sink", "at the bathroom sink"),
]
ENDINGS = [
    "while others watch",
    "and smiling at the camera",
    "wearing a blue t-shirt",
    "with 2 bags on the ground",
    "as it's getting late",
    "and doesn't look happy",
    "(black and white photo)",
    'next to a sign that says "STOP"',
    "on a sunny day, near the water",
    "wearing sunglasses & a hat",
    "at 10:30 a.m.",
    "with a 3-year-old child",
]


def composed_images() -> list[Image]:
    """Captions of scenes that are drawn at random: who does what and where, told in several ways."""
    rng = random.Random(SEED)
    return [composed_image(rng, number) for number in range(1, COMPOSED_IMAGES + 1)]


def composed_image(rng: random.Random, number: int) -> Image:
    """Five references and a candidate that tell the same scene."""
    scene = (rng.choice(PEOPLE), rng.choice(ACTIONS), rng.choice(PLACES))
    captions = [composed_caption(rng, scene) for _ in range(6)]
    return Image(number, captions[1:], captions[0])


def composed_caption(rng: random.Random, scene: tuple[tuple[str, ...], ...]) -> str:
    """One way of telling the scene."""
    who, what, where = (rng.choice(words) for words in scene)
    form = rng.randrange(5)
    if form == 0:
        words = f"{who} {what} {where}"
    elif form == 1:
        words = f"{who} {where}, {what}"
    elif form == 2:
        words = f"There is {lowered(who)} {what} {where}"
    elif form == 3:
        words = f"{who} {what} {rng.choice(ENDINGS)}"
    else:
        words = f"{who} {what} {where} {rng.choice(ENDINGS)}"
    return words + rng.choice([".", ".", ".", "", " .", "!"])


def lowered(words: str) -> str:
    """The words with a small first letter."""
    return words[0].lower() + words[1:]


# Both


def source_images(fixtures: Path | None) -> tuple[str, list[Image]]:
    """The images to draw on, and where they are from."""
    if fixtures is not None:
        if (fixtures / FIXTURE_REFERENCES).is_file() and (fixtures / FIXTURE_CANDIDATES).is_file():
            return "COCO val2017 captions of the golden files", fixture_images(fixtures)
        print(f"`{fixtures}` does not hold the COCO captions: composing some", file=sys.stderr)
    return f"captions composed by data.py, seed {SEED}", composed_images()


def repeated(images: list[Image], count: int) -> list[Image]:
    """The first `count` images of an endless repetition, each with an id of its own."""
    return [
        Image(repetition * REPETITION + image.id, image.references, image.candidate)
        for repetition, image in ((row // len(images), images[row % len(images)]) for row in range(count))
    ]


def coco_references(images: list[Image]) -> dict[str, Any]:
    """The reference captions as a COCO caption file."""
    annotations = [(image.id, caption) for image in images for caption in image.references]
    return {
        "info": {},
        "licenses": [],
        "images": [{"id": image.id} for image in images],
        "annotations": [
            {"id": number, "image_id": image, "caption": caption}
            for number, (image, caption) in enumerate(annotations, start=1)
        ],
    }


def coco_results(images: list[Image]) -> list[dict[str, Any]]:
    """The candidates as a COCO results file."""
    return [{"image_id": image.id, "caption": image.candidate} for image in images]


def write_json(path: Path, value: object) -> str:
    """Writes a JSON file and gives its SHA-256."""
    data = json.dumps(value, ensure_ascii=False).encode()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def write_case(out: Path, images: int, fixtures: Path | None) -> dict[str, Any]:
    """Writes the three files of a case and gives the content of `source.json`."""
    source, drawn_on = source_images(fixtures)
    chosen = repeated(drawn_on, images)
    out.mkdir(parents=True, exist_ok=True)
    description = {
        "source": source,
        "images": len(chosen),
        "distinct_images": min(len(chosen), len(drawn_on)),
        "references": sum(len(image.references) for image in chosen),
        "references_sha256": write_json(out / "references.json", coco_references(chosen)),
        "predictions_sha256": write_json(out / "predictions.json", coco_results(chosen)),
    }
    write_json(out / "source.json", description)
    return description


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes the captions of the metrics bench.")
    parser.add_argument("--images", type=int, required=True, help="how many images")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--fixtures", type=Path, help="folder of the golden files for metrics")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    print(json.dumps(write_case(arguments.out, arguments.images, arguments.fixtures)))


if __name__ == "__main__":
    main()
