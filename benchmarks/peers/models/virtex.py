"""VirTex's captioning model and its decoder in torch, as the published programs have them.

The layers are those of `virtex/modules/textual_heads.py` and `virtex/modules/embedding.py`, the search is that of
`virtex/utils/beam_search.py` (of AllenNLP's descent), a step that of `virtex/models/captioning.py`: every step takes
the whole captions so far and repeats the image's map for each of them; nothing is kept from one step to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet50

VOCABULARY = 10_000
WIDTH = 2048
HEADS = 32
HIDDEN = 8192
LONGEST = 30
BEAM = 5
PER_NODE = 2
PADDING, START, END = 0, 1, 2

CONFIG: dict[str, Any] = {
    "family": "virtex",
    "task": "bicaptioning",
    "visual": {
        "block": "Bottleneck",
        "layers": [3, 4, 6, 3],
        "stem_channels": 64,
        "width_per_group": 64,
        "feature_size": 2048,
    },
    "textual": {"name": f"transdec_postnorm::L1_H{WIDTH}_A{HEADS}_F{HIDDEN}"},
    "vocab_size": VOCABULARY,
    "max_caption_length": LONGEST,
    "max_decoding_steps": LONGEST,
    "unk_index": PADDING,
    "sos_index": START,
    "eos_index": END,
    "mask_index": 3,
}


class Visual(nn.Module):
    """The network for images."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = resnet50(weights=None)
        self.cnn.fc = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The last stage's map `[B, 2048, 7, 7]`."""
        cnn = self.cnn
        x = cnn.maxpool(cnn.relu(cnn.bn1(cnn.conv1(images))))
        x = cnn.layer4(cnn.layer3(cnn.layer2(cnn.layer1(x))))
        return x


class Embedding(nn.Module):
    """Words and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PADDING)
        self.positions = nn.Embedding(LONGEST, WIDTH)
        self.layer_norm = nn.LayerNorm(WIDTH, eps=1e-8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]`, zeros where the token is padding."""
        positions = torch.arange(tokens.size(1)).unsqueeze(0).expand_as(tokens)
        embeddings = self.layer_norm(self.words(tokens) + self.positions(positions))
        return embeddings * (tokens != PADDING).unsqueeze(-1).type(embeddings.dtype)


class Textual(nn.Module):
    """The head that writes captions."""

    def __init__(self) -> None:
        super().__init__()
        self.visual_projection = nn.Linear(2048, WIDTH)
        self.embedding = Embedding()
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.1, activation="gelu")
        self.transformer = nn.TransformerDecoder(layer, num_layers=1)
        self.output = nn.Linear(WIDTH, VOCABULARY)
        self.output.weight = self.embedding.words.weight

    def forward(
        self, visual_features: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Logits `[B, T, VOCABULARY]`."""
        grid = visual_features.flatten(2).permute(0, 2, 1)
        memory = self.visual_projection(grid).transpose(0, 1)
        is_padding = lengths.unsqueeze(1) < torch.ones_like(tokens).cumsum(dim=1)
        embedded = self.embedding(tokens).transpose(0, 1)
        size = tokens.size(1)
        future = torch.triu(torch.full((size, size), float("-inf")), diagonal=1)
        hidden = self.transformer(embedded, memory, tgt_mask=future, tgt_key_padding_mask=is_padding)
        return self.output(hidden.transpose(0, 1))


class VirTex(nn.Module):
    """A bicaptioning model; the backward half has no part in writing captions."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()
        self.textual = Textual()
        backward = Textual()
        backward.visual_projection = self.textual.visual_projection
        backward.embedding = self.textual.embedding
        backward.output = self.textual.output
        self.backward_textual = backward

    def captions(self, images: torch.Tensor) -> torch.Tensor:
        """Ids of the best caption of each image, `[B, T]`."""
        features = self.visual(images)
        start = torch.full((images.size(0),), START)
        return search(start, lambda partial: self.step(features, partial))

    def step(self, features: torch.Tensor, partial: torch.Tensor) -> torch.Tensor:
        """Logits of the next token of each partial caption."""
        batch, channels, height, width = features.size()
        beam = partial.size(0) // batch
        if beam > 1:
            features = features.unsqueeze(1).repeat(1, beam, 1, 1, 1)
            features = features.view(batch * beam, channels, height, width)
        lengths = torch.ones_like(partial)
        if partial.dim() == 2:
            lengths = lengths.sum(1)
        else:
            partial = partial.unsqueeze(1)
        return self.textual(features, partial, lengths)[:, -1, :]


def search(start: torch.Tensor, step: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Beam search with `PER_NODE` continuations of each beam; the start is not part of what `step` sees later."""
    batch = start.size(0)
    first = functional.log_softmax(step(start), dim=1)
    last_scores, classes = first.topk(BEAM)
    predictions = [classes]
    after_end = torch.full((batch * BEAM, first.size(1)), float("-inf"))
    after_end[:, END] = 0.0
    for _ in range(LONGEST - 1):
        last = predictions[-1].reshape(batch * BEAM)
        if bool((last == END).all()):
            break
        so_far = torch.stack(predictions).permute(1, 2, 0).reshape(batch * BEAM, -1)
        scores = functional.log_softmax(step(so_far), dim=1)
        scores[torch.arange(batch * BEAM), last] = -10000
        scores = torch.where((last == END).unsqueeze(-1), after_end, scores)
        top, classes = scores.topk(PER_NODE)
        summed = top + last_scores.reshape(batch * BEAM, 1)
        last_scores, chosen = summed.reshape(batch, BEAM * PER_NODE).topk(BEAM)
        parents = chosen // PER_NODE
        predictions = [one.gather(1, parents) for one in predictions]
        predictions.append(classes.reshape(batch, BEAM * PER_NODE).gather(1, chosen))
    return torch.stack(predictions).permute(1, 2, 0)[:, 0, :]
