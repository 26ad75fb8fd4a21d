"""VisualGPT: GPT-2 that looks at the states of three layers over regions, through gates that are cut."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from peers.common import (
    NOTHING,
    Attention,
    Batch,
    Job,
    Peer,
    cross_entropy_at,
    filled,
    gpt2_ids,
    gpt2_tokenizer,
    take,
    told_rows,
)
from peers.visualbert import regions

LEVELS = 3


class Looks(nn.Module):
    """Attention among regions and its norm."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.attention = Attention(config["d_model"], config["n_heads"], ("fc_q", "fc_k", "fc_v", "fc_o"))
        self.layer_norm = nn.LayerNorm(config["d_model"], config.get("norm_eps", 1e-5))


class Feed(nn.Module):
    """A feed-forward layer and its norm."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.fc1, self.fc2 = nn.Linear(width, config["enc_ff"]), nn.Linear(config["enc_ff"], width)
        self.layer_norm = nn.LayerNorm(width, config.get("norm_eps", 1e-5))


class Layer(nn.Module):
    """Regions look at each other; norms stand behind."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.mhatt, self.pwff = Looks(config), Feed(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The next states."""
        x = self.mhatt.layer_norm(x + self.mhatt.attention(x, mask=mask))
        return self.pwff.layer_norm(x + self.pwff.fc2(functional.relu(self.pwff.fc1(x))))


class Encoder(nn.Module):
    """The regions' side."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.fc = nn.Linear(config["feature_dim"], width)
        self.layer_norm = nn.LayerNorm(width, config.get("norm_eps", 1e-5))
        self.layers = nn.ModuleList(Layer(config) for _ in range(LEVELS))

    def forward(self, features: Tensor, mask: Tensor) -> list[Tensor]:
        """The states of each layer."""
        x = self.layer_norm(functional.gelu(self.fc(features), approximate="tanh"))
        levels = []
        for layer in self.layers:
            x = layer(x, mask)
            levels.append(x)
        return levels


class OwnAttention(nn.Module):
    """GPT-2's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = Conv1D(3 * width, width), Conv1D(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Each place looks at those before it and itself."""
        parts = self.c_attn(x).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(found.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """A look at regions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fc_q, self.fc_k, self.fc_v = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = Conv1D(width, width)

    def split(self, x: Tensor) -> Tensor:
        """`[B, heads, T, D]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """What `query`, mapped and split, finds."""
        key, value = self.split(self.fc_k(source)), self.split(self.fc_v(source))
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.c_proj(found.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """GPT-2's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(4 * width, width), Conv1D(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """The next states."""
        return self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """A block of GPT-2 with three looks and their gates."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, heads, eps = config["d_model"], config["n_heads"], config.get("norm_eps", 1e-5)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn, self.enc_dec_attn, self.mlp = OwnAttention(width, heads), CrossAttention(width, heads), Mlp(width)
        self.tau = config["tau"]
        for level in range(1, LEVELS + 1):
            self.add_module(f"fc_alpha{level}", nn.Linear(2 * width, width))

    def forward(self, x: Tensor, levels: Sequence[Tensor], mask: Tensor) -> Tensor:
        """The next states. One norm stands in front of words and regions."""
        a = x + self.attn(self.ln_1(x))
        query = self.enc_dec_attn.split(self.enc_dec_attn.fc_q(self.ln_1(a)))
        total = torch.zeros_like(a)
        for level, source in enumerate(levels, 1):
            c = self.enc_dec_attn(query, self.ln_1(source), mask)
            alpha = torch.sigmoid(getattr(self, f"fc_alpha{level}")(torch.cat([a, c], dim=-1)))
            language = alpha * (alpha > self.tau)
            visual = (1.0 - alpha) * (alpha < 1.0 - self.tau)
            total = total + language * a + visual * c
        a = total / LEVELS**0.5
        return a + self.mlp(self.ln_2(a))


class Decoder(nn.Module):
    """The words' side."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.wte, self.wpe = nn.Embedding(config["vocab_size"], width), nn.Embedding(config["n_positions"], width)
        self.h = nn.ModuleList(Block(config) for _ in range(config["n_layer"]))
        self.ln_f = nn.LayerNorm(width, config.get("norm_eps", 1e-5))


class VisualGpt(nn.Module):
    """The whole."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = nn.ModuleDict({"transformer": Decoder(config)})

    def forward(self, features: Tensor, mask: Tensor, ids: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch. What fills captions up stands behind them, where nobody looks."""
        levels = self.encoder(features, mask)
        words = self.decoder["transformer"]
        x = words.wte(ids) + words.wpe.weight[: ids.shape[1]]
        for block in words.h:
            x = block(x, levels, mask)
        head = lambda states: functional.linear(states, words.wte.weight)  # noqa: E731
        return cross_entropy_at(words.ln_f(x), rows, labels, head)


class Family(Peer):
    """VisualGPT."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.config, self.tokenizer = job.config(), gpt2_tokenizer(job.folder)
        self.model = VisualGpt(self.config)
        take(self.model, job.tensors())

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        config = self.config
        # Captions lose capitals and marks.
        texts = [scene.description.lower().translate(str.maketrans("", "", string.punctuation)) for scene in scenes]
        rows = [[config["bos_id"], *ids, config["eos_id"]] for ids in gpt2_ids(self.tokenizer, texts)]
        labels = filled([row[1:] for row in rows], NOTHING)
        places = told_rows(labels)
        features, there = regions(scenes, config["feature_dim"])
        most = config["max_detections"]
        features = functional.pad(features[:, :most], (0, 0, 0, max(0, most - features.shape[1])))
        there = functional.pad(there[:, :most], (0, max(0, most - there.shape[1])))
        return {
            "features": features,
            "mask": there.bool()[:, None, None, :],
            "ids": filled([row[:-1] for row in rows], config["pad_id"]),
            "rows": places,
            "labels": labels.flatten()[places],
        }
