"""Compares the tensors `output` of two files: agree.py OURS PEER.

Prints one JSON object. The difference is the largest one, absolute where values are below 1 and in proportion above.
"""

from __future__ import annotations

import json
import sys

import torch
from safetensors.torch import load_file


def compare(ours: torch.Tensor, peer: torch.Tensor) -> dict[str, float]:
    """How far two tensors are apart; infinitely when their shapes differ."""
    if ours.shape != peer.shape:
        return {"values": peer.numel(), "difference": float("inf"), "largest": 0.0}
    ours, peer = ours.double(), peer.double()
    difference = (ours - peer).abs() / peer.abs().clamp(min=1.0)
    return {
        "values": peer.numel(),
        "difference": float(difference.nan_to_num(nan=float("inf")).max()),
        "largest": float(peer.abs().max()),
    }


if __name__ == "__main__":
    print(json.dumps(compare(*(load_file(file)["output"] for file in sys.argv[1:3]))))
