"""Frozen: a residual network without norms writes vectors that a language model reads, which stays as it is."""

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
    Batch,
    Job,
    Peer,
    centre,
    cross_entropy_at,
    filled,
    gpt2,
    gpt2_ids,
    gpt2_states,
    gpt2_tokenizer,
    normalised,
    picture,
    take,
    told_rows,
)

ALPHA = 0.2
GAIN = 1.7139588594436646
"""Of rectified units, as in timm."""
CROP = 0.94


class ScaledConv(nn.Conv2d):
    """A convolution with standardised weights, in the form of timm's `ScaledStdConv2d`."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, side, stride=stride, padding=side // 2)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        self.scale = GAIN * self.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """The next map."""
        weight = functional.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * self.scale).view(-1),
            training=True,
            momentum=0.0,
            eps=1e-5,
        ).reshape_as(self.weight)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """A bottleneck before whose units the variance is set back."""

    def __init__(self, inputs: int, outputs: int, stride: int, beta: float) -> None:
        super().__init__()
        inner = outputs // 4
        self.beta = beta
        self.conv1, self.conv2 = ScaledConv(inputs, inner, 1), ScaledConv(inner, inner, 3, stride)
        self.conv3 = ScaledConv(inner, outputs, 1)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
            self.downsample = nn.ModuleDict({"pool": pool, "conv": ScaledConv(inputs, outputs, 1)})

    def forward(self, x: Tensor) -> Tensor:
        """The next map."""
        out = functional.relu(x) * self.beta
        if self.downsample is not None:
            x = self.downsample["conv"](self.downsample["pool"](out))
        out = self.conv2(functional.relu(self.conv1(out)))
        return self.conv3(functional.relu(out)) * ALPHA + x


class NfResNet(nn.Module):
    """timm's `nf_resnet`, to the last map's units."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv": ScaledConv(3, config["stem"], 7, 2)})
        stages, inputs, variance = [], config["stem"], 1.0
        for stage, (depth, outputs) in enumerate(zip(config["depths"], config["channels"], strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Block(inputs, outputs, stride, variance**-0.5))
                variance = (1.0 if number == 0 else variance) + ALPHA**2
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last map."""
        return functional.relu(self.stages(functional.max_pool2d(self.stem["conv"](pixels), 3, 2, 1)))


class Frozen(nn.Module):
    """Encoder, linear map, language model."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = NfResNet(config)
        self.prefix = config["prefix_tokens"]
        self.mapper = nn.Linear(config["channels"][-1], self.prefix * config["lm_config"]["n_embd"])
        self.lm = gpt2(config["lm_config"])

    def forward(self, pixels: Tensor, ids: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch."""
        vectors = self.mapper(self.encoder(pixels).mean((2, 3))).unflatten(1, (self.prefix, -1))
        embeds = torch.cat([vectors, self.lm.transformer.wte(ids)], dim=1)
        # What fills captions up stands behind them, where nobody looks.
        return cross_entropy_at(gpt2_states(self.lm, embeds), rows, labels, self.lm.lm_head)


class Family(Peer):
    """Frozen."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.config, self.tokenizer = job.config(), gpt2_tokenizer(job.folder)
        self.model = Frozen(self.config)
        tensors = job.tensors()
        if not any(name.startswith("lm.transformer.") for name in tensors):
            whole = lambda name: name.replace("lm.", "lm.transformer.", 1) if name.startswith("lm.") else name  # noqa: E731
            tensors = {whole(name): one for name, one in tensors.items()}
        take(self.model, tensors, extra=("lm.lm_head.",))

    def is_trained(self, name: str) -> bool:
        return not name.startswith("lm.")

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        end, prefix = self.config["lm_config"]["eos_token_id"], self.config["prefix_tokens"]
        rows = [[*ids, end] for ids in gpt2_ids(self.tokenizer, [scene.description for scene in scenes])]
        # The last vector of the image tells the first token; the last token, the end, need not be read.
        labels = filled([[NOTHING] * (prefix - 1) + row for row in rows], NOTHING)
        places = told_rows(labels)
        return {
            "pixels": pixels(scenes, self.config["image_size"]),
            "ids": filled([row[:-1] for row in rows], end),
            "rows": places,
            "labels": labels.flatten()[places],
        }


def pixels(scenes: Sequence[Scene], side: int) -> Tensor:
    """As timm prepares images to be looked at: larger than the side, and cut."""
    larger = int(side / CROP)
    pictures = [picture(scene).resize((larger, larger), Image.Resampling.BICUBIC) for scene in scenes]
    return normalised([centre(one, side) for one in pictures], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
