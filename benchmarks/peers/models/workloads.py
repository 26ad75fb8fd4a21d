"""The table of what is timed, and what both sides are held to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One model at work."""

    name: str
    what: str
    unit: str
    checkpoint: str
    """Folder of the weights, below the work folder."""
    output: str
    """What is compared."""
    tolerance: float
    """The largest allowed difference, absolute or in proportion; 0 for ids, which have to be equal."""
    wanted: dict[int, float]
    """Batch size, and how many times as fast as the peer ours should be."""
    batches: tuple[int, ...] = (1, 8, 32)
    peer_batches: tuple[int, ...] | None = None
    """The batches that the peer takes, when it is too slow for all."""


TRANSFORMER = {1: 1.3, 8: 1.0, 32: 1.0}
CONVOLUTIONAL = {1: 0.7, 8: 0.7}
WRITING = {1: 1.5, 8: 1.0}
SEARCH = {1: 5.0, 8: 5.0, 32: 5.0}

WORKLOADS = (
    Workload(
        "clip-image",
        "CLIP ViT-B/32, images of 224×224 to unit vectors",
        "images",
        "clip",
        "unit vectors",
        1e-5,
        TRANSFORMER,
    ),
    Workload(
        "clip-text",
        "CLIP ViT-B/32, texts of 77 tokens to unit vectors",
        "texts",
        "clip",
        "unit vectors",
        1e-5,
        TRANSFORMER,
    ),
    Workload(
        "visualbert",
        "VisualBERT-base, questions of 20 tokens about 36 regions to 3,129 logits",
        "questions",
        "visualbert",
        "logits",
        1e-4,
        TRANSFORMER,
    ),
    Workload(
        "r50",
        "ResNet-50 (VirTex's network), images of 224×224 to the last map",
        "images",
        "virtex",
        "map",
        1e-4,
        CONVOLUTIONAL,
        batches=(1, 8),
    ),
    Workload(
        "captions",
        "VirTex R50 L1 H2048, images to captions of 30 tokens, beam of 5",
        "captions",
        "virtex",
        "ids",
        0.0,
        {1: 10.0},
        batches=(1, 8),
        peer_batches=(1,),
    ),
    Workload(
        "gpt2",
        "GPT-2 small, prompts of 16 tokens to 64 more, greedy with a cache",
        "texts",
        "gpt2",
        "ids",
        0.0,
        WRITING,
        batches=(1, 8),
    ),
    Workload(
        "pythia",
        "Pythia-160m, prompts of 16 tokens to 64 more, greedy with a cache",
        "texts",
        "pythia",
        "ids",
        0.0,
        WRITING,
        batches=(1, 8),
    ),
    Workload(
        "flamingo",
        "Flamingo of the tiny zoo's size, an image of 64×64 and 8 tokens to 20 more, greedy with a cache",
        "captions",
        "flamingo",
        "ids",
        0.0,
        WRITING,
        batches=(1, 8),
    ),
    Workload(
        "magic",
        "MAGIC: GPT-2 small and CLIP ViT-B/32, images of 224×224 to captions of 15 tokens, 45 candidates",
        "captions",
        "magic",
        "ids",
        0.0,
        {1: 2.0},
        batches=(1,),
    ),
    Workload(
        "asif",
        "ASIF: vectors of 512 values to the nearest 800 of 100,000 anchors of f32",
        "queries",
        "asif",
        "ids",
        0.0,
        SEARCH,
    ),
    Workload(
        "asif-int8",
        "ASIF: the same, anchors kept as int8 (torch gets the same values as f32)",
        "queries",
        "asif-int8",
        "ids",
        0.0,
        SEARCH,
    ),
)

NAMES = tuple(workload.name for workload in WORKLOADS)
MEMORY = 0.7
"""Peak memory of ours in the peer's, at most."""
LOAD_S = 0.5
"""Seconds that loading CLIP's 605 MB may take from the page cache."""


def workload_named(name: str) -> Workload:
    """The workload of this name, which must be in the table."""
    return next(workload for workload in WORKLOADS if workload.name == name)
