"""SimVLM: a residual stem cuts the image into cells, an encoder reads them, a decoder writes the description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional

from peers.common import (
    NOTHING,
    Attention,
    Batch,
    Job,
    Peer,
    ResNet,
    cross_entropy_at,
    filled,
    normalised,
    picture,
    pieces,
    take,
    told_rows,
)

STRIDE = 16
MAPS = ("q", "k", "v", "o")


class Block(nn.Module):
    """Attention, perhaps a look at the encoder, and a feed-forward layer, each behind its norm."""

    def __init__(self, config: dict[str, Any], side: int | None) -> None:
        super().__init__()
        width, heads, eps = config["d_model"], config["n_heads"], config.get("norm_eps", 1e-5)
        self.attn = Attention(width, heads, MAPS)
        self.ln1, self.ln2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.fc1, self.fc2 = nn.Linear(width, config["d_ff"]), nn.Linear(config["d_ff"], width)
        self.is_decoder = side is None
        if side is None:
            self.cross, self.ln_x = Attention(width, heads, MAPS), nn.LayerNorm(width, eps)
            return
        self.attn.rel_bias = nn.Parameter(torch.empty(heads, 2 * side - 1, 2 * side - 1))
        at = torch.arange(side * side)
        rows, columns = at // side, at % side
        places = (rows[:, None] - rows[None] + side - 1) * (2 * side - 1) + columns[:, None] - columns[None] + side - 1
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """The next states."""
        if memory is None:
            bias = self.attn.rel_bias.flatten(1)[:, self.places].unsqueeze(0)
            x = x + self.attn(self.ln1(x), mask=bias)
        else:
            x = x + self.attn(self.ln1(x), is_causal=True)
            x = x + self.cross(self.ln_x(x), memory)
        return x + self.fc2(functional.gelu(self.fc1(self.ln2(x))))


class SimVlm(nn.Module):
    """The variant of an encoder and a decoder, with a prefix that is an image alone."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, side = config["d_model"], config["image_size"] // STRIDE
        self.stem = ResNet(config["stem_width"], config["stem_depths"], is_bottleneck=True)
        channels = 4 * config["stem_width"] << (len(config["stem_depths"]) - 1)
        self.patch_proj = nn.Linear(channels, width)
        self.pos_image = nn.Embedding(side * side, width)
        self.embed = nn.Embedding(config["vocab_size"], width)
        self.pos_text = nn.Embedding(config["max_text_len"], width)
        self.encoder = nn.ModuleList(Block(config, side) for _ in range(config["n_enc"]))
        self.decoder = nn.ModuleList(Block(config, None) for _ in range(config["n_dec"]))
        eps = config.get("norm_eps", 1e-5)
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, pixels: Tensor, ids: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch."""
        cells = self.patch_proj(self.stem(pixels).flatten(2).transpose(1, 2)) + self.pos_image.weight
        for block in self.encoder:
            cells = block(cells)
        memory = self.encoder_norm(cells)
        x = self.embed(ids) + self.pos_text.weight[: ids.shape[1]]
        for block in self.decoder:
            x = block(x, memory)
        head = lambda states: functional.linear(states, self.embed.weight)  # noqa: E731
        return cross_entropy_at(self.decoder_norm(x), rows, labels, head)


class Family(Peer):
    """SimVLM."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.config, self.pieces = job.config(), pieces(job.folder)
        self.model = SimVlm(self.config)
        take(self.model, job.tensors())

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        config = self.config
        size = (config["image_size"], config["image_size"])
        # Scenes are squares: nothing is cut.
        pictures = [picture(scene).resize(size, Image.Resampling.BICUBIC) for scene in scenes]
        rows = [[*self.pieces.encode(scene.description), config["eos_id"]] for scene in scenes]
        labels = filled(rows, NOTHING)
        places = told_rows(labels)
        return {
            "pixels": normalised(pictures, [0.5] * 3, [0.5] * 3),
            "ids": filled([[config["bos_id"], *row[:-1]] for row in rows], config.get("pad_id", 0)),
            "rows": places,
            "labels": labels.flatten()[places],
        }
