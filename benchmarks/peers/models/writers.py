"""Makes the checkpoints of models that write, and of ASIF, with random weights; and their inputs.

Matrices are larger than an initialisation's: the likeliest tokens then differ from step to step, by more than rounding.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "train"))
MERGES = HERE.parents[2] / "tests/fixtures/models/tokenizers/vocab/bpe_simple_vocab_16e6.txt.gz"

SPREAD = 0.08
"""Deviation of matrices of models of full size."""
TINY_SPREAD = 0.2
ANCHORS, WIDTH, TEXT_WIDTH = 100_000, 512, 64
PROMPT, TINY_PROMPT = 16, 8
END, START, PADDING = 50_256, 50_257, 50_258
"""MAGIC's marks."""
INPUTS = ("prompts", "small_pixels", "small_prompts", "queries")

FLAMINGO: dict[str, Any] = {
    "family": "flamingo",
    "cross_attn_every_n_layers": 1,
    "image_size": 64,
    "patch_size": 8,
    "vision_width": 96,
    "vision_layers": 2,
    "vision_heads": 4,
    "vision_activation": "gelu",
    "perceiver": {"depth": 1, "dim_head": 16, "heads": 4, "ff_mult": 2, "num_latents": 8},
    "gated": {"dim_head": 16, "heads": 4, "ff_mult": 2},
}
"""The tiny zoo's."""
TINY_LANGUAGE = {"vocab_size": 512, "n_positions": 128, "n_embd": 64, "n_layer": 3, "n_head": 4}


def inputs(count: int) -> dict[str, torch.Tensor]:
    """What the workloads of this module read."""
    return {
        "prompts": torch.randint(5, 50_000, (count, PROMPT)),
        "small_pixels": torch.randn(count, 3, FLAMINGO["image_size"], FLAMINGO["image_size"]),
        "small_prompts": torch.randint(5, TINY_LANGUAGE["vocab_size"], (count, TINY_PROMPT)),
        "queries": torch.randn(count, WIDTH),
    }


def make_gpt2(folder: Path) -> None:
    """GPT-2 small."""
    GPT2LMHeadModel(GPT2Config(initializer_range=SPREAD)).save_pretrained(folder)


def make_pythia(folder: Path) -> None:
    """Pythia-160m."""
    config = GPTNeoXConfig(
        vocab_size=50_304,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        rotary_pct=0.25,
        max_position_embeddings=2048,
        initializer_range=SPREAD,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)


def make_flamingo(folder: Path) -> None:
    """The parts of a Flamingo of the tiny zoo's size."""
    from peers.flamingo import ADDED, Flamingo

    marks = {"bos_token_id": 0, "eos_token_id": 0}
    language = GPT2LMHeadModel(GPT2Config(**TINY_LANGUAGE, **marks, initializer_range=TINY_SPREAD))
    language.save_pretrained(folder / "lm")
    vision = {
        "hidden_act": FLAMINGO["vision_activation"],
        "hidden_size": FLAMINGO["vision_width"],
        "intermediate_size": 4 * FLAMINGO["vision_width"],
        "num_attention_heads": FLAMINGO["vision_heads"],
        "num_hidden_layers": FLAMINGO["vision_layers"],
        "image_size": FLAMINGO["image_size"],
        "patch_size": FLAMINGO["patch_size"],
    }
    text = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
    text |= {"vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 62, "eos_token_id": 63}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    clip.save_pretrained(folder / "vision")
    model = Flamingo(FLAMINGO, clip.vision_model, language)
    tensors = {}
    for name, tensor in model.named_parameters():
        if name.startswith(("vision.", "language.")):
            continue
        if tensor.ndim > 1:
            tensor.normal_(std=TINY_SPREAD)
        elif name.endswith("_gate"):
            tensor.normal_(std=1.0)
        if name.startswith("gated."):
            _, number, rest = name.split(".", 2)
            name = f"lang_encoder.transformer.h.{number}.gated_cross_attn_layer.{rest}"
        tensors[name.replace("words.weight", "lang_encoder.transformer.wte.weight")] = tensor.detach().contiguous()
    if len(model.words.weight) != TINY_LANGUAGE["vocab_size"] + ADDED:
        raise ValueError("the table of tokens has other rows than the marks need")
    save_file(tensors, folder / "flamingo.safetensors")
    write_json(folder / "config.json", FLAMINGO)


def make_magic(folder: Path) -> None:
    """GPT-2 small with MAGIC's marks, and CLIP ViT-B/32. Both tokenizers have the words of CLIP's merges."""
    config = GPT2Config(vocab_size=PADDING + 1, bos_token_id=START, eos_token_id=END, initializer_range=SPREAD)
    for name, model in (("lm", GPT2LMHeadModel(config)), ("clip", CLIPModel(CLIPConfig()))):
        whole = {key: value.contiguous() for key, value in model.state_dict().items() if key != "lm_head.weight"}
        save_file(whole, folder / f"{name}.safetensors", metadata={"format": "pt"})
        write_json(folder / f"{name}_config.json", model.config.to_dict())
    marks = {"family": "magic", "sos_id": START, "eos_id": END, "pad_id": PADDING}
    write_json(folder / "config.json", marks)

    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")
    merges = lines[1 : 49_152 - 256 - 2 + 1]
    letters = byte_letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    write_tokenizer(folder / "clip_tokenizer", pieces, merges)

    ends = (piece.removesuffix("</w>") for piece in pieces if piece.endswith("</w>"))
    words = [end for end in ends if len(end) > 1 and end.isascii() and end.isalpha()]
    doubled = (first + second for first, second in itertools.product(words[:400], words[:400]))
    marked = dict.fromkeys("Ġ" + word for word in itertools.chain(words, doubled))
    # The language model's tokens are only ever decoded: no merge leads to them.
    write_tokenizer(folder / "lm_tokenizer", [*letters, *itertools.islice(marked, END - 256), "<|endoftext|>"], [])


def make_asif(folder: Path) -> None:
    """Anchors in the form in which `models asif build` writes them, f32."""
    write_anchors(folder, {"image": directions(WIDTH), "text": directions(TEXT_WIDTH)})


def make_asif_int8(folder: Path) -> None:
    """The same of whole numbers and a scale for each row."""
    parts: dict[str, torch.Tensor] = {}
    for side, width in (("image", WIDTH), ("text", TEXT_WIDTH)):
        rows = directions(width)
        scale = rows.abs().amax(-1) / 127
        parts |= {side: (rows / scale[:, None]).round().to(torch.int8), f"{side}_scale": scale}
    write_anchors(folder, parts)


def directions(width: int) -> torch.Tensor:
    """Rows of unit length."""
    rows = torch.randn(ANCHORS, width)
    return rows / rows.norm(dim=-1, keepdim=True)


def write_anchors(folder: Path, parts: dict[str, torch.Tensor]) -> None:
    """A segment, and the list of segments."""
    name = "anchors-00000.safetensors"
    save_file(parts, folder / name)
    write_json(folder / "anchors.json", {"schema": 1, "segments": [name]})


def byte_letters() -> list[str]:
    """A letter for each byte, in the order of GPT-2's vocabulary: those that can be shown, then the others."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return [*map(chr, shown), *(chr(256 + place) for place in range(len(others)))]


def write_tokenizer(folder: Path, pieces: list[str], merges: list[str]) -> None:
    """`vocab.json` and `merges.txt`."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "vocab.json", {piece: number for number, piece in enumerate(pieces)})
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def write_json(file: Path, value: Any) -> None:
    """A file of JSON."""
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
