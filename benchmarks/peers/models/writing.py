"""Models that write, in torch: transformers' own loop, Flamingo with a cache, MAGIC's search; ASIF's anchors.

Greedy search over GPT-2 and Pythia is `generate` of transformers with its cache. Flamingo is the reference of the
training bench, whose blocks keep what they saw. MAGIC's search is the published procedure (arXiv 2205.02655): in
each step the language model reads all candidates as a batch behind the repeated cache, and CLIP a text for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "train"))

NEW_TOKENS = 64
"""Of a text of GPT-2 and Pythia."""
FLAMINGO_TOKENS = 20
"""Of a caption of Flamingo's: the most of the published evaluation."""
CANDIDATES, PENALTY, JUDGEMENT, LENGTH = 45, 0.1, 2.0, 16
"""MAGIC's published search for COCO; the length has the start token in it."""
CLIP_TOKENS = 60
"""The most tokens of a text that CLIP sees."""
NEAREST = 800
"""k of ASIF's paper."""

Run = Callable[[int], Any]


def language(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Ids behind prompts, greedily, none of which ends."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    # A text ends nowhere, so that all have the same length.
    model.generation_config.eos_token_id = None
    prompts = inputs["prompts"]

    def run(batch: int) -> Any:
        ids = prompts[:batch]
        found = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
        return found[:, ids.shape[1] :]

    return run


def flamingo(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Ids behind an image and a few words, greedily."""
    import torch
    from peers.flamingo import ADDED, Flamingo
    from safetensors.torch import load_file
    from torch.nn import functional
    from transformers import CLIPVisionModel, DynamicCache, GPT2LMHeadModel

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    words = GPT2LMHeadModel.from_pretrained(checkpoint / "lm")
    model = Flamingo(config, CLIPVisionModel.from_pretrained(checkpoint / "vision"), words).eval()
    trained = load_file(checkpoint / "flamingo.safetensors")
    layer, gated = "lang_encoder.transformer.h.", ".gated_cross_attn_layer."
    named = {
        "gated." + name.removeprefix(layer).replace(gated, ".") if gated in name else name: tensor
        for name, tensor in trained.items()
    }
    named["words.weight"] = named.pop("lang_encoder.transformer.wte.weight")
    found = model.load_state_dict(named, strict=False)
    missing = [name for name in found.missing_keys if not name.startswith(("vision.", "language."))]
    if missing or found.unexpected_keys:
        raise ValueError(f"missing: {missing}, not known: {found.unexpected_keys}")
    body, rows = words.transformer, len(named["words.weight"])
    image, end = rows - ADDED + 1, rows - ADDED
    pixels, prompts = inputs["small_pixels"], inputs["small_prompts"]

    def step(ids: Any, media: Any, cache: Any, past: int) -> Any:
        """Logits behind the last of `ids` `[B, T]`."""
        length = ids.shape[1]
        places = torch.arange(past, past + length)
        x = model.words(ids) + body.wpe(places)
        for number, block in enumerate(body.h):
            x = model.gated[str(number)](x, media)
            x = block(x, past_key_values=cache, cache_position=places, use_cache=True)
            x = x if isinstance(x, torch.Tensor) else x[0]
        return functional.linear(body.ln_f(x[:, -1]), model.words.weight)

    def run(batch: int) -> Any:
        cells = model.vision(pixel_values=pixels[:batch]).last_hidden_state[:, 1:]
        media, cache = model.perceiver(cells), DynamicCache()
        ids = torch.cat([torch.full((batch, 1), image), prompts[:batch]], dim=1)
        past, written, ended = 0, [], torch.zeros(batch, dtype=torch.bool)
        for _ in range(FLAMINGO_TOKENS):
            best = step(ids, media, cache, past).argmax(-1)
            past += ids.shape[1]
            # What stands behind the end is filled up with it.
            written.append(torch.where(ended, end, best))
            ended |= best == end
            if bool(ended.all()):
                break
            ids = best.unsqueeze(1)
        filled = [torch.full((batch,), end)] * (FLAMINGO_TOKENS - len(written))
        return torch.stack([*written, *filled], dim=1)

    return run


def magic(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Ids of captions, one image after the other."""
    import torch
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast, DynamicCache, GPT2Config, GPT2LMHeadModel
    from transformers import GPT2TokenizerFast

    def read(kind: Any, settings: Any, name: str) -> Any:
        """A model of random weights that lie beside its configuration."""
        config = settings.from_json_file(checkpoint / f"{name}_config.json")
        made = kind(config)
        found = made.load_state_dict(load_file(checkpoint / f"{name}.safetensors"), strict=False)
        left = [key for key in found.missing_keys if not key.endswith(("position_ids", "lm_head.weight"))]
        if left or found.unexpected_keys:
            raise ValueError(f"missing: {left}, not known: {found.unexpected_keys}")
        made.tie_weights()
        return made.eval()

    words, clip = read(GPT2LMHeadModel, GPT2Config, "lm"), read(CLIPModel, CLIPConfig, "clip")
    spell = GPT2TokenizerFast.from_pretrained(checkpoint / "lm_tokenizer")
    clip_tokens = CLIPTokenizerFast.from_pretrained(checkpoint / "clip_tokenizer")
    start = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["sos_id"]
    pixels, scale = inputs["pixels"], clip.logit_scale.exp()

    def unit(x: Any) -> Any:
        """Rows of length 1."""
        return x / x.norm(dim=-1, keepdim=True)

    def judged(texts: list[str], image: Any) -> Any:
        """The softmax over `texts` of their cosines with the image."""
        longest = clip.config.text_config.max_position_embeddings
        read = clip_tokens(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return (scale * unit(clip.get_text_features(**read)) @ image).softmax(0)

    def caption(image: Any) -> list[int]:
        """One search."""
        cache, ids = DynamicCache(), [start]
        seen = words.transformer(torch.tensor([ids]), past_key_values=cache, use_cache=True).last_hidden_state
        context, logits = unit(seen[0]), words.lm_head(seen[0, -1])
        for _ in range(LENGTH - 1):
            confidence, candidates = logits.softmax(-1).topk(CANDIDATES)
            cache.batch_repeat_interleave(CANDIDATES)
            read = words.transformer(candidates.unsqueeze(1), past_key_values=cache, use_cache=True)
            states = read.last_hidden_state[:, 0]
            penalty = (unit(states) @ context.T).max(-1).values
            behind = [[*ids[1:], token][-CLIP_TOKENS:] for token in candidates.tolist()]
            judgement = judged(spell.batch_decode(behind, clean_up_tokenization_spaces=False), image)
            score = (1.0 - PENALTY) * confidence - PENALTY * penalty + JUDGEMENT * judgement
            best = int(score.argmax())
            cache.batch_select_indices(torch.tensor([best]))
            ids.append(int(candidates[best]))
            context, logits = torch.cat([context, unit(states[best : best + 1])]), words.lm_head(states[best])
        return ids[1:]

    def run(batch: int) -> Any:
        images = unit(clip.get_image_features(pixel_values=pixels[:batch]))
        return torch.tensor([caption(image) for image in images])

    return run


def asif(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """The anchors that are nearest to queries, ascending: one product and `topk` of torch.

    Whole numbers are brought to f32 when the anchors are loaded: torch's product of them is no faster.
    """
    from safetensors.torch import load_file

    parts = load_file(checkpoint / "anchors-00000.safetensors")
    anchors = parts["image"]
    if "image_scale" in parts:
        anchors = anchors.float() * parts["image_scale"][:, None]
    del parts
    queries = inputs["queries"]

    def run(batch: int) -> Any:
        vectors = queries[:batch]
        cosines = vectors / vectors.norm(dim=-1, keepdim=True) @ anchors.T
        return cosines.topk(NEAREST).indices.sort(-1).values

    return run
