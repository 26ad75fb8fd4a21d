"""What the reference models share: reading images and texts, rows of tokens, losses, blocks."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional

Batch = dict[str, Any]
NOTHING = -100
"""The label of what is not told: torch's."""


@dataclass(frozen=True)
class Job:
    """What is trained, and from where."""

    folder: Path
    """The checkpoint that both sides begin with."""
    run: Path
    """The folder of our run of the same manifest."""
    options: dict[str, Any]
    """The objective's settings."""

    def config(self) -> dict[str, Any]:
        """The model's configuration."""
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    def tensors(self, file: str = "model.safetensors") -> dict[str, Tensor]:
        """The weights."""
        return load_file(self.folder / file)


class Peer:
    """A family: its model, and how its batches are made. Subclasses set `model`, whose `forward` takes a batch."""

    model: nn.Module
    regions = "train"
    """The table of the samples' regions."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        """The samples from the number `first` on, as the model takes them."""
        raise NotImplementedError

    def is_trained(self, name: str) -> bool:
        """Whether this parameter is trained."""
        return True

    def our_name(self, name: str) -> str:
        """The parameter's name in our checkpoint."""
        return name


# Pixels.


def picture(scene: Scene) -> Image.Image:
    """The decoded image."""
    return Image.open(io.BytesIO(scene.image)).convert("RGB")


def normalised(pictures: Sequence[Image.Image], mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """`[B, 3, H, W]` of values in 0..1, less the mean, in deviations."""
    values = numpy.stack([numpy.asarray(one, dtype=numpy.float32) for one in pictures]) / numpy.float32(255)
    values = (values - numpy.float32(mean)) / numpy.float32(deviation)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def centre(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


# Tokens.


def gpt2_tokenizer(folder: Path) -> Any:
    """GPT-2's, from `vocab.json` and `merges.txt`."""
    from transformers import GPT2TokenizerFast

    files = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    return GPT2TokenizerFast(**files)


def gpt2_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, without marks."""
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def pieces(folder: Path) -> Any:
    """SentencePiece's, from `tokenizer.model`."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def filled(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """`[B, T]`: rows filled up to the length of the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


# Losses.


def told_rows(labels: Tensor) -> Tensor:
    """The places of a batch that have a label, in the flattened order. Made once: the rest need not become logits."""
    return (labels.flatten() != NOTHING).nonzero().squeeze(1)


def cross_entropy_at(hidden: Tensor, rows: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Mean cross entropy of `head` on the rows of `hidden` `[B, T, D]` that are told something."""
    states = hidden.flatten(0, 1).index_select(0, rows)
    return functional.cross_entropy(head(states), labels)


# Blocks.


class Attention(nn.Module):
    """Attention with separate maps under the names `names` (query, key, value, out)."""

    def __init__(self, width: int, heads: int, names: Sequence[str], source: int | None = None) -> None:
        super().__init__()
        self.heads, self.names = heads, names
        query, key, value, out = names
        for name, inputs in ((query, width), (key, source or width), (value, source or width), (out, width)):
            self.add_module(name, nn.Linear(inputs, width))

    def forward(
        self, x: Tensor, source: Tensor | None = None, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """`x` `[B, T, D]` looks at `source`, or at itself."""
        source = x if source is None else source
        maps = [getattr(self, name) for name in self.names]
        query, key, value = (
            one(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for one, rows in zip(maps, (x, source, source), strict=False)
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
        return maps[3](found.transpose(1, 2).flatten(2))


class ResNet(nn.Module):
    """torchvision's residual network without mean and classifier; statistics of norms stay as they are in `eval`."""

    def __init__(self, stem: int, layers: Sequence[int], is_bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, self.layers = stem, []
        for stage, depth in enumerate(layers):
            planes = stem << stage
            blocks = []
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                # The bottleneck's middle is `width_per_group` / 64 = 1 times as wide as its planes.
                block = Bottleneck(inputs, planes, stride) if is_bottleneck else Basic(inputs, planes, stride)
                blocks.append(block)
                inputs = planes * (4 if is_bottleneck else 1)
            name = f"layer{stage + 1}"
            self.add_module(name, nn.Sequential(*blocks))
            self.layers.append(name)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last stage's map."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(pixels))))
        for name in self.layers:
            x = getattr(self, name)(x)
        return x


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What a block adds where it changes the shape."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two convolutions."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The next map."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Three convolutions."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The next map."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


# Weights.


def take(model: nn.Module, tensors: dict[str, Tensor], extra: Sequence[str] = ()) -> None:
    """Loads weights; nothing may be missing or over but counters of norms, and what begins with one of `extra`."""
    found = model.load_state_dict(tensors, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    missing = [name for name in missing if not name.startswith(tuple(extra))]
    if missing or found.unexpected_keys:
        raise ValueError(f"missing: {missing}, not known: {found.unexpected_keys}")


def gpt2(config: dict[str, Any]) -> nn.Module:
    """transformers' GPT-2 without dropout; its activation is torch's own function, the same one in fewer operators."""
    from transformers import GPT2Config, GPT2LMHeadModel

    if config["activation_function"] == "gelu_new":
        config = config | {"activation_function": "gelu_pytorch_tanh"}
    return GPT2LMHeadModel(GPT2Config(**config, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, use_cache=False))


def gpt2_states(model: nn.Module, embeds: Tensor) -> Tensor:
    """The states of `embeds` `[B, T, D]`, of which each sees those before.

    A mask that hides nothing tells transformers that rows are not packed, so that attention takes its causal path."""
    there = embeds.new_ones(embeds.shape[:2], dtype=torch.long)
    return model.transformer(inputs_embeds=embeds, attention_mask=there).last_hidden_state


def take_gpt2(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads a language model's tensors, under the names with or without `transformer.`."""
    named = {name if name.startswith("transformer.") else f"transformer.{name}": one for name, one in tensors.items()}
    take(model, named, extra=("lm_head.",))
