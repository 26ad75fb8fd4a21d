"""ALIGN: transformers' model with its own loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from PIL import Image
from scenes import Scene
from torch import Tensor, nn
from transformers import AlignModel, BertTokenizerFast

from peers.common import Batch, Job, Peer, filled, picture


class Contrastive(nn.Module):
    """The loss of transformers' class: both directions, labels smoothed."""

    def __init__(self, model: AlignModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, ids: Tensor, there: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.model(input_ids=ids, attention_mask=there, pixel_values=pixels, return_loss=True).loss


class Family(Peer):
    """ALIGN."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.tokenizer = BertTokenizerFast(str(job.folder / "vocab.txt"))
        model = AlignModel.from_pretrained(job.folder)
        # A text is read from its first state, not from the pooler, which the checkpoint need not have.
        model.text_model.pooler = None
        self.side = job.config()["vision_config"]["image_size"]
        self.model = Contrastive(model)

    def our_name(self, name: str) -> str:
        return name.removeprefix("model.")

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        rows = [self.tokenizer.encode(scene.description) for scene in scenes]
        size = (self.side, self.side)
        pictures = [picture(scene).resize(size, Image.Resampling.BILINEAR) for scene in scenes]
        values = numpy.stack([numpy.asarray(one, dtype=numpy.float32) for one in pictures])
        pixels = torch.from_numpy(values * numpy.float32(0.00784313725490196) - numpy.float32(1.0))
        return {
            "pixels": pixels.permute(0, 3, 1, 2).contiguous(),
            "ids": filled(rows, self.tokenizer.pad_token_id),
            "there": filled([[1] * len(row) for row in rows], 0),
        }
