"""The table of what is trained: the recipe of each family, and what is changed so that both sides see the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

QUESTIONS, PROPOSALS = "questions", "proposals"


@dataclass(frozen=True)
class Recipe:
    """One family in training."""

    name: str
    """In results and on the command line."""
    manifest: str
    """The recipe below `manifests/train/`."""
    what: str
    peer: str
    """What the peer's model is made of."""
    objective: str
    """The stage of the recipe that is compared."""
    needs: tuple[str, ...] = ()
    """Recipes whose models it begins with."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the objective, over those of the recipe: without choices by chance."""
    reads: str = ""
    """What is read with a shard because scenes that are drawn do not give both sides the same: `questions`, one each, or
    `proposals` of regions."""
    changes: str = ""
    """What is not as in the recipe, for the report."""


RECIPES = (
    Recipe(
        "clip",
        "clip-tiny",
        "CLIP, contrastive",
        "transformers' CLIPModel",
        "contrastive",
    ),
    Recipe(
        "lm",
        "lm-tiny",
        "GPT-2, next token",
        "transformers' GPT2LMHeadModel",
        "next-token",
        options={"vectors": 0, "texts": 1},
        changes="one description a row, without random vectors",
    ),
    Recipe(
        "simvlm",
        "simvlm-tiny",
        "SimVLM, the description behind an image",
        "torch layers, scaled_dot_product_attention",
        "prefix-lm",
    ),
    Recipe(
        "visualbert",
        "visualbert-tiny",
        "VisualBERT, answers",
        "transformers' VisualBertForQuestionAnswering",
        "answers",
        reads=QUESTIONS,
        changes="the stage `answers` alone, one question an image, read from a shard",
    ),
    Recipe(
        "frozen",
        "frozen-tiny",
        "Frozen, captions behind a frozen language model",
        "torch's convolutions, transformers' GPT2LMHeadModel",
        "captioning",
        needs=("lm",),
        changes="descriptions alone",
    ),
    Recipe(
        "virtex",
        "virtex-tiny",
        "VirTex, captions forwards and backwards",
        "torch's convolutions and nn.TransformerDecoder",
        "bicaptioning",
    ),
    Recipe(
        "align",
        "align-tiny",
        "ALIGN, contrastive",
        "transformers' AlignModel",
        "contrastive",
    ),
    Recipe(
        "magic-lm",
        "magic-lm-tiny",
        "GPT-2, states unlike each other",
        "transformers' GPT2LMHeadModel",
        "token-contrastive",
        needs=("lm",),
    ),
    Recipe(
        "visualgpt",
        "visualgpt-tiny",
        "VisualGPT, cross entropy",
        "torch layers, scaled_dot_product_attention",
        "cross-entropy",
        needs=("lm",),
        changes="the stage `cross-entropy` alone",
    ),
    Recipe(
        "flamingo",
        "flamingo-tiny",
        "Flamingo, captions",
        "torch layers, transformers' CLIPVisionModel",
        "interleaved",
        needs=("lm", "clip"),
        options={"images": 1},
        changes="one image with its description a document",
    ),
    Recipe(
        "vild",
        "vild-tiny",
        "ViLD, classes of regions and a teacher's vectors",
        "torch's convolutions",
        "distillation",
        needs=("clip",),
        reads=PROPOSALS,
        changes="images are read from a shard, regions and their features from a table",
    ),
)

NAMES = tuple(recipe.name for recipe in RECIPES)
WANTED = 0.8
"""Samples/s of ours in the peer's, at least."""


def recipe_named(name: str) -> Recipe:
    """The recipe of this name, which must be in the table."""
    return next(recipe for recipe in RECIPES if recipe.name == name)


def with_needs(names: tuple[str, ...]) -> tuple[str, ...]:
    """These and what they begin with, in an order in which they can be made."""
    order: list[str] = []
    for name in names:
        for one in (*recipe_named(name).needs, name):
            if one not in order:
                order.append(one)
    return tuple(order)
