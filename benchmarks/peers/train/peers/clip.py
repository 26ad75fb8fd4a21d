"""CLIP: transformers' model, the loss of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizerFast

from peers.common import Batch, Job, Peer, filled, normalised, picture


class Contrastive(nn.Module):
    """Mean of the cross entropies of both directions."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """The loss of a batch."""
        logits = self.model(input_ids=ids, pixel_values=pixels).logits_per_text
        right = torch.arange(logits.shape[0])
        return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.t(), right)) / 2


class Family(Peer):
    """CLIP."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.tokenizer = CLIPTokenizerFast(str(job.folder / "vocab.json"), str(job.folder / "merges.txt"))
        self.model = Contrastive(CLIPModel.from_pretrained(job.folder))

    def our_name(self, name: str) -> str:
        return name.removeprefix("model.")

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        rows = [self.tokenizer.encode(scene.description) for scene in scenes]
        # The images have the size that the model takes.
        pixels = normalised([picture(scene) for scene in scenes], [0.5] * 3, [0.25] * 3)
        return {"pixels": pixels, "ids": filled(rows, self.tokenizer.eos_token_id)}
