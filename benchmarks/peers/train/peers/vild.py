"""ViLD: two heads on features of regions, one for classes with boxes, one for the vectors of a teacher."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from safetensors.torch import load_file
from scenes import Edges, Scene
from torch import Tensor, nn
from torch.nn import functional

from peers.common import NOTHING, Batch, Job, Peer, take

SIDE = 7
"""Rows and columns of a region's feature."""
SHOWS = 0.5
"""Intersection over union from which a region shows an object."""
SCALES = (10.0, 10.0, 5.0, 5.0)
"""Of corrections of boxes: down, across, taller, wider."""


class Head(nn.Module):
    """A region's feature into CLIP's space."""

    def __init__(self, config: dict[str, Any], has_boxes: bool) -> None:
        super().__init__()
        inputs, channels = config["channels"], config["head_channels"]
        widths = [inputs, *[channels] * config["head_convs"]]
        pairs = zip(widths, widths[1:], strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(one, other, 3, padding=1) for one, other in pairs)
        self.fc6 = nn.Linear(widths[-1] * SIDE * SIDE, config["fc_dim"])
        self.fc7 = nn.Linear(config["fc_dim"], config["fc_dim"])
        self.project = nn.Linear(config["fc_dim"], config["clip_dim"])
        self.box = nn.Linear(config["fc_dim"], 4) if has_boxes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden state and the unit vector of each region."""
        for convolution in self.convs:
            x = functional.relu(convolution(x))
        hidden = functional.relu(self.fc7(functional.relu(self.fc6(x.flatten(1)))))
        return hidden, functional.normalize(self.project(hidden), dim=-1)


class Vild(nn.Module):
    """Both heads."""

    def __init__(self, config: dict[str, Any], classes: Tensor, weight: float) -> None:
        super().__init__()
        self.text_head, self.image_head = Head(config, has_boxes=True), Head(config, has_boxes=False)
        self.background = nn.Parameter(torch.empty(config["clip_dim"]))
        self.temperature, self.weight = config["temperature"], weight
        self.register_buffer("classes", classes, persistent=False)

    def forward(self, features: Tensor, labels: Tensor, teacher: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
        """The loss of a batch. Classes without boxes have no logits; `teacher` has unit length."""
        hidden, vectors = self.text_head(features)
        known = torch.cat([functional.normalize(self.background, dim=0)[None], self.classes])
        text = functional.cross_entropy(vectors @ known.t() * self.temperature, labels, ignore_index=NOTHING)
        _, vectors = self.image_head(features)
        image = (vectors - teacher).abs().sum(1).mean()
        apart = self.text_head.box(hidden)[rows]
        return text + self.weight * image + functional.smooth_l1_loss(apart, boxes, reduction="sum") / len(rows)


class Family(Peer):
    """ViLD."""

    regions = "proposals"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.base = job.options["base"]
        # What names of classes and crops of regions are to CLIP, both sides take from our run's folder.
        classes = load_file(job.run / "teacher/classes.safetensors")["classes"][: len(self.base)]
        index = json.loads((job.run / "teacher/train.json").read_text(encoding="utf-8"))
        vectors = numpy.fromfile(job.run / "teacher/train.f32", dtype="<f4").reshape(-1, index["width"])
        self.rows = index["rows"]
        self.vectors = functional.normalize(torch.from_numpy(vectors), dim=-1)
        self.model = Vild(job.config(), classes.contiguous(), job.options.get("distillation_weight", 0.5))
        take(self.model, job.tensors())

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        features, labels, teacher, rows, boxes = [], [], [], [], []
        channels = self.job.config()["channels"]
        for scene in scenes:
            values = torch.from_numpy(numpy.frombuffer(scene.features, dtype="<f4").copy())
            features.append(values.view(-1, channels, SIDE, SIDE))
            start, count = self.rows[scene.key]
            teacher.append(self.vectors[start : start + count])
            for edges in scene.regions:
                name, box = shown(edges, scene)
                if box is not None:
                    rows.append(len(labels))
                    boxes.append(correction(edges, box))
                labels.append(0 if name is None else self.base.index(name) + 1 if name in self.base else NOTHING)
        return {
            "features": torch.cat(features),
            "labels": torch.tensor(labels),
            "teacher": torch.cat(teacher),
            "rows": torch.tensor(rows),
            "boxes": torch.tensor(boxes),
        }


def shown(edges: Edges, scene: Scene) -> tuple[str | None, Edges | None]:
    """The object that a region overlaps most, if it does so enough."""
    overlaps = [overlap(edges, box) for _, box in scene.objects]
    most = max(range(len(overlaps)), key=lambda at: overlaps[at])
    return scene.objects[most] if overlaps[most] >= SHOWS else (None, None)


def overlap(one: Edges, other: Edges) -> float:
    """Intersection over union."""

    def area(box: Edges) -> float:
        return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)

    both = area([max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])])
    either = area(one) + area(other) - both
    return both / either if either > 0.0 else 0.0


def correction(edges: Edges, box: Edges) -> list[float]:
    """What makes the box of a region that of its object."""

    def place(one: Edges) -> tuple[float, float, float, float]:
        width, height = max(one[2] - one[0], 1.0), max(one[3] - one[1], 1.0)
        return one[0] + width / 2, one[1] + height / 2, width, height

    (x, y, width, height), (to_x, to_y, to_width, to_height) = place(edges), place(box)
    moves = ((to_y - y) / height, (to_x - x) / width, math.log(to_height / height), math.log(to_width / width))
    return [move * scale for move, scale in zip(moves, SCALES, strict=True)]
