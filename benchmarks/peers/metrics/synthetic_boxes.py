"""Random boxes and detections that meet every rule of the COCO and LVIS protocols.

Shared by the scripts that record golden files. Standard library only, so that the same seed gives the
same boxes everywhere.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# Sides whose squares are the bounds of the area ranges, so that some areas lie exactly on a bound.
BOUND_SIDES = (32.0, 96.0)
DECIMALS = 2


@dataclass
class Settings:
    """How many of what to draw."""

    seed: int
    images: int
    categories: list[int]
    truths_per_image: int = 8
    detections_per_truth: float = 1.6
    false_per_image: int = 6
    # Scores are rounded to this many decimals, which makes ties.
    score_decimals: int = 2
    crowd_share: float = 0.08
    ignored_share: float = 0.0
    empty_share: float = 0.1
    # One image gets this many more detections of one category.
    flood: int = 0
    # Categories that have detections but no annotation.
    unlabelled: list[int] = field(default_factory=list)


def side(rng: random.Random) -> float:
    """A side length: small, medium and large about equally often, sometimes on a bound."""
    if rng.random() < 0.06:
        return rng.choice(BOUND_SIDES)
    return rng.choice((rng.uniform(4, 32), rng.uniform(32, 96), rng.uniform(96, 300)))


def random_box(rng: random.Random) -> list[float]:
    """A box `[x, y, width, height]` whose sides are of similar length."""
    width = side(rng)
    height = width if rng.random() < 0.2 else width * rng.uniform(0.6, 1.6)
    corner = [rng.uniform(0, 400), rng.uniform(0, 300)]
    return [round(value, DECIMALS) for value in [*corner, width, height]]


def jittered(rng: random.Random, box: list[float]) -> list[float]:
    """`box` itself now and then, else moved and stretched by a random share of its sides."""
    if rng.random() < 0.15:
        return list(box)
    x, y, width, height = box
    spread = rng.choice((0.03, 0.1, 0.25))
    moved = [
        x + rng.gauss(0, spread) * width,
        y + rng.gauss(0, spread) * height,
        width * (1 + rng.gauss(0, spread)),
        height * (1 + rng.gauss(0, spread)),
    ]
    return [round(value, DECIMALS) for value in moved]


def annotation(rng: random.Random, settings: Settings, image: int, number: int) -> Json:
    """One annotation; its area is a share of its box's, as that of a mask would be."""
    box = random_box(rng)
    share = rng.choice((1.0, 1.0, rng.uniform(0.5, 1.0)))
    categories = [c for c in settings.categories if c not in settings.unlabelled]
    return {
        "id": number,
        "image_id": image,
        "category_id": rng.choice(categories),
        "bbox": box,
        "area": round(box[2] * box[3] * share, 3),
        "iscrowd": int(rng.random() < settings.crowd_share),
        "ignore": int(rng.random() < settings.ignored_share),
    }


def detection(image: int, category: int, box: list[float], score: float) -> Json:
    """One detection in the layout of COCO results."""
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def draw(settings: Settings) -> tuple[list[Json], list[Json], list[Json]]:
    """Images, annotations and detections, the latter two in random order of images."""
    rng = random.Random(settings.seed)
    ids = sorted(rng.sample(range(1, 10 * settings.images), settings.images))
    images = [{"id": image, "width": 640, "height": 480} for image in ids]
    annotations: list[Json] = []
    detections: list[Json] = []

    def score() -> float:
        return round(rng.random(), settings.score_decimals)

    for image in ids:
        if rng.random() < settings.empty_share:
            continue
        for _ in range(rng.randint(0, 2 * settings.truths_per_image)):
            truth = annotation(rng, settings, image, len(annotations) + 1)
            annotations.append(truth)
            copies = int(settings.detections_per_truth + rng.random())
            for _ in range(copies):
                same = rng.random() < 0.85
                category = truth["category_id"] if same else rng.choice(settings.categories)
                box = jittered(rng, truth["bbox"])
                detections.append(detection(image, category, box, score()))
        for _ in range(rng.randint(0, 2 * settings.false_per_image)):
            category = rng.choice(settings.categories)
            detections.append(detection(image, category, random_box(rng), score()))

    if settings.flood:
        truth = rng.choice(annotations)
        for _ in range(settings.flood):
            box = jittered(rng, truth["bbox"])
            detections.append(detection(truth["image_id"], truth["category_id"], box, score()))

    # A detection that overlaps two neighbours by exactly one half, then one of the left neighbour: which of
    # the two the first takes decides whether the second is right.
    image, category = ids[0], settings.categories[0]
    for x in (10.0, 50.0):
        truth = annotation(rng, settings, image, len(annotations) + 1)
        truth.update(category_id=category, bbox=[x, 20.0, 40.0, 30.0], area=1200.0, iscrowd=0, ignore=0)
        annotations.append(truth)
    detections.append(detection(image, category, [10.0, 20.0, 80.0, 30.0], 0.9))
    detections.append(detection(image, category, [10.0, 20.0, 40.0, 30.0], 0.8))

    # Boxes that are no area, or less than none.
    for width, height in ((0.0, 20.0), (-12.0, 30.0), (-8.0, -9.0)):
        truth = rng.choice(annotations)
        x, y = truth["bbox"][:2]
        box = [x, y, width, height]
        detections.append(detection(truth["image_id"], truth["category_id"], box, score()))

    rng.shuffle(detections)
    return images, annotations, detections
