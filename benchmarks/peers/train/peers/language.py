"""GPT-2 alone: the next token, and states that are unlike each other (SimCTG)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scenes import Scene
from torch import Tensor, nn
from torch.nn import functional

from peers.common import (
    NOTHING,
    Batch,
    Job,
    Peer,
    cross_entropy_at,
    filled,
    gpt2,
    gpt2_ids,
    gpt2_states,
    gpt2_tokenizer,
    take_gpt2,
    told_rows,
)


class NextToken(nn.Module):
    """Mean cross entropy of the tokens that are told."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch. What fills rows up stands behind them, where nobody looks."""
        hidden = gpt2_states(self.model, self.model.transformer.wte(ids))
        return cross_entropy_at(hidden, rows, labels, self.model.lm_head)


class TokenContrastive(NextToken):
    """The same, and the mean of `max(0, margin - 1 + cos)` over pairs of different places of a text."""

    def __init__(self, model: nn.Module, margin: float) -> None:
        super().__init__(model)
        self.margin = margin

    def forward(self, ids: Tensor, rows: Tensor, labels: Tensor, pairs: Tensor, count: float) -> Tensor:
        """The loss of a batch."""
        hidden = gpt2_states(self.model, self.model.transformer.wte(ids))
        likelihood = cross_entropy_at(hidden, rows, labels, self.model.lm_head)
        states = functional.normalize(hidden, dim=-1)
        near = functional.relu(states @ states.transpose(1, 2) + (self.margin - 1.0))
        return likelihood + (near * pairs).sum() / count


class Family(Peer):
    """A language model."""

    is_contrastive = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.tokenizer = gpt2_tokenizer(job.folder)
        self.config = job.config()
        model = gpt2(self.config)
        take_gpt2(model, job.tensors())
        self.prefix = "" if any(name.startswith("transformer.") for name in job.tensors()) else "transformer."
        if self.is_contrastive:
            self.model = TokenContrastive(model, job.options.get("margin", 0.5))
        else:
            self.model = NextToken(model)

    def our_name(self, name: str) -> str:
        return name.removeprefix("model.").removeprefix(self.prefix)

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        end = self.config["eos_token_id"]
        texts = gpt2_ids(self.tokenizer, [scene.description for scene in scenes])
        start = [self.config["bos_token_id"]] if self.job.options.get("start", True) else []
        rows = [[*start, *ids, end] for ids in texts]
        ids = filled([row[:-1] for row in rows], end)
        labels = filled([row[1:] for row in rows], NOTHING)
        places = told_rows(labels)
        batch: Batch = {"ids": ids, "rows": places, "labels": labels.flatten()[places]}
        if self.is_contrastive:
            # As published: of all rows but the longest, the end is a place too.
            longest = ids.shape[1]
            there = filled([[1] * min(len(row), longest) for row in rows], 0).float()
            pairs = there[:, :, None] * there[:, None, :] * (1.0 - torch.eye(longest))
            batch |= {"pairs": pairs, "count": float(pairs.sum())}
        return batch
