"""Flamingo, in the form of OpenFlamingo: a perceiver and gated layers between CLIP's tower and GPT-2, which stay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionModel

from peers.common import (
    NOTHING,
    Batch,
    Job,
    Peer,
    cross_entropy_at,
    filled,
    gpt2,
    gpt2_ids,
    gpt2_tokenizer,
    normalised,
    picture,
    take_gpt2,
    told_rows,
)

ADDED = 3
"""Rows behind the language model's: the end of a text, an image, padding."""


def feed_forward(width: int, times: int) -> nn.Sequential:
    """A norm and two maps without biases."""
    hidden = width * times
    expand, contract = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
    return nn.Sequential(nn.LayerNorm(width), expand, nn.GELU(), contract)


class Looks(nn.Module):
    """Attention of few heads without biases, in front of which norms stand."""

    def __init__(self, width: int, source: int, config: dict[str, Any], norms: Sequence[str]) -> None:
        super().__init__()
        self.heads, inner = config["heads"], config["heads"] * config["dim_head"]
        for name in norms:
            self.add_module(name, nn.LayerNorm(width))
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(source, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def look(self, x: Tensor, source: Tensor) -> Tensor:
        """What `x` finds in `source`, both normed."""
        parts = (self.to_q(x), *self.to_kv(source).chunk(2, dim=-1))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(found.transpose(1, 2).flatten(2))


class Perceiver(nn.Module):
    """Any number of cells to a few vectors."""

    def __init__(self, width: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(config["num_latents"], width))
        norms = ("norm_media", "norm_latents")
        self.layers = nn.ModuleList(
            nn.ModuleList([Looks(width, width, config, norms), feed_forward(width, config["ff_mult"])])
            for _ in range(config["depth"])
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, cells: Tensor) -> Tensor:
        """`[B, latents, width]`."""
        x = self.latents.expand(cells.shape[0], -1, -1)
        for looks, feed in self.layers:
            normed = looks.norm_latents(x)
            x = x + looks.look(normed, torch.cat([looks.norm_media(cells), normed], dim=1))
            x = x + feed(x)
        return self.norm(x)


class Gated(nn.Module):
    """A look at the image of a text, and a feed-forward layer, behind gates."""

    def __init__(self, width: int, source: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.attn, self.ff = Looks(width, source, config, ("norm",)), feed_forward(width, config["ff_mult"])
        self.attn_gate, self.ff_gate = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, media: Tensor) -> Tensor:
        """The next states. All tokens stand behind their one image."""
        x = x + self.attn.look(self.attn.norm(x), media) * self.attn_gate.tanh()
        return x + self.ff(x) * self.ff_gate.tanh()


class Flamingo(nn.Module):
    """All parts."""

    def __init__(self, config: dict[str, Any], vision: nn.Module, language: nn.Module) -> None:
        super().__init__()
        self.vision, self.language = vision, language
        width, source = language.config.n_embd, config["vision_width"]
        every = config.get("cross_attn_every_n_layers", 1)
        looks = [number for number in range(language.config.n_layer) if (number + 1) % every == 0]
        self.perceiver = Perceiver(source, config["perceiver"])
        self.gated = nn.ModuleDict({str(number): Gated(width, source, config["gated"]) for number in looks})
        self.words = nn.Embedding(language.config.vocab_size + ADDED, width)

    def forward(self, pixels: Tensor, ids: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch. What fills texts up stands behind them, where nobody looks."""
        with torch.no_grad():
            cells = self.vision(pixel_values=pixels).last_hidden_state[:, 1:]
        media = self.perceiver(cells)
        body = self.language.transformer
        x = self.words(ids) + body.wpe.weight[: ids.shape[1]]
        for number, block in enumerate(body.h):
            if str(number) in self.gated:
                x = self.gated[str(number)](x, media)
            x = block(x)
            x = x if isinstance(x, torch.Tensor) else x[0]
        head = lambda states: functional.linear(states, self.words.weight)  # noqa: E731
        return cross_entropy_at(body.ln_f(x), rows, labels, head)


class Family(Peer):
    """Flamingo."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        folder = job.folder / "lm"
        self.tokenizer = gpt2_tokenizer(folder)
        self.language = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        language = gpt2(self.language)
        take_gpt2(language, load_file(folder / "model.safetensors"))
        vision = CLIPVisionModel.from_pretrained(job.folder / "vision")
        self.model = Flamingo(job.config(), vision, language)
        named = {self.own_name(name): tensor for name, tensor in job.tensors("flamingo.safetensors").items()}
        found = self.model.load_state_dict(named, strict=False)
        missing = [name for name in found.missing_keys if self.is_trained(name)]
        if missing or found.unexpected_keys:
            raise ValueError(f"missing: {missing}, not known: {found.unexpected_keys}")

    def own_name(self, name: str) -> str:
        """The name here of one of our checkpoint's tensors."""
        parts = name.split(".")
        if "gated_cross_attn_layer" in parts:
            at = parts.index("gated_cross_attn_layer")
            return ".".join(["gated", parts[at - 1], *parts[at + 1 :]])
        return "words.weight" if name.endswith("wte.weight") else name

    def our_name(self, name: str) -> str:
        if name.startswith("gated."):
            _, number, rest = name.split(".", 2)
            return f"lang_encoder.transformer.h.{number}.gated_cross_attn_layer.{rest}"
        return "lang_encoder.transformer.wte.weight" if name == "words.weight" else name

    def is_trained(self, name: str) -> bool:
        return name.startswith(("perceiver.", "gated.", "words."))

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        end = self.language["vocab_size"]
        image, pad = end + 1, end + 2
        rows = [[image, *ids, end] for ids in gpt2_ids(self.tokenizer, [scene.description for scene in scenes])]
        labels = filled([row[1:] for row in rows], NOTHING)
        places = told_rows(labels)
        return {
            # As for the tower's own CLIP.
            "pixels": normalised([picture(scene) for scene in scenes], [0.5] * 3, [0.25] * 3),
            "ids": filled([row[:-1] for row in rows], pad),
            "rows": places,
            "labels": labels.flatten()[places],
        }
