"""VisualBERT: transformers' model with the head for answers, fed as the authors' program does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from scenes import Scene, asked
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertTokenizerFast, VisualBertForQuestionAnswering

from peers.common import Batch, Job, Peer, filled


def regions(scenes: Sequence[Scene], width: int) -> tuple[Tensor, Tensor]:
    """Features `[B, R, width]` and which of them are there `[B, R]`."""
    values = (numpy.frombuffer(scene.features, dtype="<f4").reshape(-1, width).copy() for scene in scenes)
    rows = [torch.from_numpy(one) for one in values]
    there = filled([[1] * len(row) for row in rows], 0)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), there


class Answers(nn.Module):
    """Divergence of the answers from their shares."""

    def __init__(self, model: VisualBertForQuestionAnswering) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Batch, places: Tensor, shares: Tensor) -> Tensor:
        """The loss of a batch. The answer is read at the mask, the last token but one, where transformers' class reads it."""
        hidden = self.model.visual_bert(**inputs).last_hidden_state
        logits = self.model.cls(hidden[torch.arange(len(places)), places])
        return functional.kl_div(functional.log_softmax(logits, dim=-1), shares, reduction="batchmean")


class Family(Peer):
    """VisualBERT."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.tokenizer = BertTokenizerFast(str(job.folder / "vocab.txt"))
        model = VisualBertForQuestionAnswering.from_pretrained(job.folder)
        # The answer is not read from the pooler, which the checkpoint does not have.
        model.visual_bert.pooler = None
        self.labels = {label: int(number) for number, label in job.config()["id2label"].items()}
        self.model = Answers(model)

    def our_name(self, name: str) -> str:
        return name.removeprefix("model.")

    def batch(self, scenes: Sequence[Scene], first: int) -> Batch:
        pairs = [asked(number, scene, set(self.labels)) for number, scene in enumerate(scenes, first)]
        # Questions were trained on without marks, and with one `?` before the mask.
        questions = [question.replace("?", "").replace(",", "") + " ? [MASK]" for question, _ in pairs]
        rows = [self.tokenizer.encode(question) for question in questions]
        ids = filled(rows, self.tokenizer.pad_token_id)
        features, there = regions(scenes, self.job.config()["visual_embedding_dim"])
        shares = torch.zeros(len(scenes), len(self.labels))
        shares[torch.arange(len(scenes)), [self.labels[answer] for _, answer in pairs]] = 1.0
        inputs = {
            "input_ids": ids,
            "attention_mask": filled([[1] * len(row) for row in rows], 0),
            "visual_embeds": features,
            "visual_attention_mask": there,
            "visual_token_type_ids": torch.zeros_like(there),
        }
        return {"inputs": inputs, "places": torch.tensor([len(row) - 2 for row in rows]), "shares": shares}
