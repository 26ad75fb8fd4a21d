#!/usr/bin/env python3
"""Images and tokens per second with torch, of models of the same shapes with random weights as in `device_speed`.

    peers_models.py --device cuda:0 --dtype bf16 [--modes eager,compiled] [--seconds 2] clip-b32:256 gpt-124m:1 …

Attention is `scaled_dot_product_attention`, which takes flash attention where the card has it. Compiled is
`torch.compile`, for writing tokens with `mode="reduce-overhead"`, which replays a CUDA graph of a step over a cache of
fixed length. Prints a JSON object for each workload and mode; a mode that fails is told with its error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

PROMPT, WRITTEN, VOCABULARY, CONTEXT = 32, 128, 50_257, 1024
LEAST, MOST = 3, 50
VITS = {"clip-b32": (32, 768, 12, 12, 512), "clip-b16": (16, 768, 12, 12, 512), "clip-l14": (14, 1024, 24, 16, 768)}
GPTS = {"gpt-124m": (768, 12, 12), "gpt-1.3b": (2048, 24, 32)}


class Block(nn.Module):
    """Pre-norm, with the activation of CLIP or of GPT-2; with a cache it attends to what was seen."""

    def __init__(self, width: int, heads: int, is_clip: bool) -> None:
        super().__init__()
        self.heads, self.is_clip = heads, is_clip
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, cache=None, position=None, mask=None):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if cache is not None:
            keys, values = cache
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            k, v = keys, values
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        h = self.expand(self.norm2(x))
        h = h * torch.sigmoid(1.702 * h) if self.is_clip else F.gelu(h, approximate="tanh")
        return x + self.contract(h)


class ClipImages(nn.Module):
    def __init__(self, patch: int, width: int, depth: int, heads: int, output: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch, bias=False)
        self.place = nn.Parameter(torch.randn((224 // patch) ** 2 + 1, width) * 0.02)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, True) for _ in range(depth))
        self.project = nn.Linear(width, output, bias=False)

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.place
        x = self.before(x)
        for block in self.blocks:
            x = block(x)
        y = self.project(self.after(x[:, 0])).float()
        return y / y.norm(dim=-1, keepdim=True)


class Gpt(nn.Module):
    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, heads, False) for _ in range(depth))
        self.after = nn.LayerNorm(width)
        self.heads, self.head_dim = heads, width // heads

    def forward(self, ids, position, caches, mask):
        x = self.words(ids) + self.place(position)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache, position, mask)
        return F.linear(self.after(x[:, -1]), self.words.weight).argmax(-1, keepdim=True)


def clip(name: str, batch: int, dtype, device, compiled: bool) -> tuple[int, str, Callable[[], object]]:
    model = ClipImages(*VITS[name]).to(device, dtype).eval()
    pixels = torch.randn(batch, 3, 224, 224, device=device, dtype=dtype)
    run = torch.compile(model) if compiled else model
    return batch, "images", lambda: run(pixels)


def gpt(name: str, batch: int, dtype, device, compiled: bool) -> tuple[int, str, Callable[[], object]]:
    model = Gpt(*GPTS[name]).to(device, dtype).eval()
    length = PROMPT + WRITTEN
    shape = (batch, model.heads, length, model.head_dim)
    caches = [tuple(torch.zeros(shape, device=device, dtype=dtype) for _ in "kv") for _ in model.blocks]
    prompt = torch.randint(0, VOCABULARY, (batch, PROMPT), device=device)
    places = torch.arange(length, device=device)
    for tensor in (tensor for cache in caches for tensor in cache):
        # Without it torch takes no CUDA graph, as a step writes to what it is given.
        torch._dynamo.mark_static_address(tensor)
    step = torch.compile(model, mode="reduce-overhead", fullgraph=True) if compiled else model

    def run() -> None:
        seen = places[:PROMPT]
        mask = places[None, :] <= seen[:, None]
        ids = model(prompt, seen, caches, mask)
        for at in range(PROMPT, PROMPT + WRITTEN - 1):
            position = places[at : at + 1]
            ids = step(ids, position, caches, (places <= position)[None]).clone()

    return batch * WRITTEN, "tokens", run


def measure(workload: str, mode: str, arguments: argparse.Namespace) -> dict:
    name, _, batch = workload.partition(":")
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[arguments.dtype]
    device = torch.device(arguments.device)
    make = clip if name in VITS else gpt
    made = {"schema": 1, "program": f"torch {torch.__version__} {mode}", "workload": name, "batch": int(batch)}
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    start = time.perf_counter()
    count, unit, run = make(name, int(batch), dtype, device, mode == "compiled")
    run()
    run()
    synchronize()
    first = time.perf_counter() - start
    passes: list[float] = []
    while len(passes) < LEAST or (len(passes) < MOST and sum(passes) < arguments.seconds):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        passes.append(time.perf_counter() - start)
    return made | {
        "weights": arguments.dtype,
        "unit": unit,
        "per_s": count / statistics.median(passes),
        "best_per_s": count / min(passes),
        "passes": sorted(passes),
        "first_s": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", default="bf16", choices=("f32", "f16", "bf16"))
    parser.add_argument("--modes", default="eager,compiled")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("workloads", nargs="+")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    with torch.inference_mode():
        for workload in arguments.workloads:
            for mode in arguments.modes.split(","):
                try:
                    told = measure(workload, mode, arguments)
                except Exception as error:  # noqa: BLE001 — one peer that fails must not stop the others
                    told = {"schema": 1, "program": f"torch {mode}", "workload": workload, "error": str(error)[:500]}
                print(json.dumps(told), flush=True)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()


main()
