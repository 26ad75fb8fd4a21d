"""VirTex: a residual network, and a decoder each for captions forwards and backwards, in torch's own layers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from PIL import Image
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional

from peers.common import (
    NOTHING,
    Batch,
    Job,
    Peer,
    ResNet,
    centre,
    cross_entropy_at,
    filled,
    normalised,
    picture,
    pieces,
    take,
    told_rows,
)

FIXED = 2048
"""The unit of OpenCV's weights of neighbours."""


def opencv_bilinear(image: Image.Image, side: int) -> Image.Image:
    """A square image enlarged as OpenCV does 8-bit images, in whole numbers."""
    values = numpy.asarray(image).astype(numpy.int64)
    scale = values.shape[0] / side
    at = ((numpy.arange(side) + 0.5) * scale - 0.5).astype(numpy.float32)
    first = numpy.floor(at).astype(numpy.int64)
    share = at - first
    share[(first < 0) | (first >= values.shape[0] - 1)] = 0.0
    first = first.clip(0, values.shape[0] - 1)
    second = (first + 1).clip(0, values.shape[0] - 1)
    near = numpy.rint((1.0 - share) * FIXED).astype(numpy.int64)
    far = numpy.rint(share * FIXED).astype(numpy.int64)
    rows = values[:, first] * near[None, :, None] + values[:, second] * far[None, :, None]
    above = (near[:, None, None] * (rows[first] >> 4)) >> 16
    below = (far[:, None, None] * (rows[second] >> 4)) >> 16
    return Image.fromarray(((above + below + 2) >> 2).clip(0, 255).astype(numpy.uint8))


class Embedding(nn.Module):
    """Words and positions."""

    def __init__(self, config: dict[str, Any], width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_caption_length"], width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-8)

    def forward(self, ids: Tensor) -> Tensor:
        """`[B, T, width]`."""
        return self.layer_norm(self.words(ids) + self.positions.weight[: ids.shape[1]])


def decoder(name: str) -> nn.TransformerDecoder:
    """The decoder of a name such as `transdec_prenorm::L1_H96_A4_F192`."""
    form = re.fullmatch(r"transdec_(pre|post)norm::L(\d+)_H(\d+)_A(\d+)_F(\d+)", name)
    if form is None:
        raise ValueError(f"{name} is no decoder of VirTex")
    place, layers, width, heads, hidden = form.groups()
    is_first = place == "pre"
    layer = nn.TransformerDecoderLayer(
        int(width), int(heads), int(hidden), dropout=0.0, activation="gelu", batch_first=True, norm_first=is_first
    )
    return nn.TransformerDecoder(layer, int(layers), norm=nn.LayerNorm(int(width)) if is_first else None)


class Textual(nn.Module):
    """What one direction has; the backward one shares all but the decoder."""

    def __init__(self, config: dict[str, Any], channels: int | None) -> None:
        super().__init__()
        self.transformer = decoder(config["textual"]["name"])
        if channels is not None:
            width = self.transformer.layers[0].linear1.in_features
            self.visual_projection = nn.Linear(channels, width)
            self.embedding = Embedding(config, width)
            self.output = nn.ParameterDict({"bias": torch.empty(config["vocab_size"])})


class VirTex(nn.Module):
    """The model of both directions."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        visual = config["visual"]
        is_bottleneck = visual["block"] == "Bottleneck"
        cnn = ResNet(visual["stem_channels"], visual["layers"], is_bottleneck)
        channels = (4 if is_bottleneck else 1) * visual["stem_channels"] << (len(visual["layers"]) - 1)
        self.visual = nn.ModuleDict({"cnn": cnn})
        self.textual = Textual(config, channels)
        self.backward_textual = Textual(config, None)

    def forward(self, pixels: Tensor, ids: Sequence[Tensor], labels: Sequence[Tensor], rows: Tensor) -> Tensor:
        """The loss of a batch, of both directions. What fills captions up stands behind them, where nobody looks."""
        shared = self.textual
        grid = self.visual["cnn"](pixels).flatten(2).transpose(1, 2)
        memory = shared.visual_projection(grid)
        table, bias = shared.embedding.words.weight, shared.output["bias"]
        head = lambda states: functional.linear(states, table, bias)  # noqa: E731
        future = nn.Transformer.generate_square_subsequent_mask(ids[0].shape[1])
        total = memory.new_zeros(())
        for side, some, told in zip((self.textual, self.backward_textual), ids, labels, strict=True):
            hidden = side.transformer(shared.embedding(some), memory, tgt_mask=future, tgt_is_causal=True)
            total = total + cross_entropy_at(hidden, rows, told, head)
        return total


class Family(Peer):
    """VirTex."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.config, self.pieces = job.config(), pieces(job.folder)
        self.model = VirTex(self.config)
        take(self.model, job.tensors())

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        config, side = self.config, self.config["image_size"]
        texts = [self.pieces.encode(scene.description.lower()) for scene in scenes]
        both = [
            [[config["sos_index"], *ids, config["eos_index"]] for ids in texts],
            [[config["eos_index"], *reversed(ids), config["sos_index"]] for ids in texts],
        ]
        labels = [filled([row[1:] for row in rows], NOTHING) for rows in both]
        places = told_rows(labels[0])
        larger = math.ceil(side * 8 / 7)
        pictures = [centre(opencv_bilinear(picture(scene), larger), side) for scene in scenes]
        return {
            "pixels": normalised(pictures, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            "ids": [filled([row[:-1] for row in rows], config["unk_index"]) for rows in both],
            "labels": [one.flatten()[places] for one in labels],
            "rows": places,
        }
