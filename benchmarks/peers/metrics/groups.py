"""Which of our metrics is held against which of the reference programs'.

This is the only place that knows both sides' names.
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 1e-6
"""Largest absolute difference between the two sides, of a corpus value or of one image's."""


@dataclass(frozen=True)
class Group:
    """Metrics that one process of each side computes together."""

    name: str
    peer: str
    """The reference programs, for people."""
    peer_metrics: str
    """The argument of `reference.py --metrics`."""
    names: dict[str, str]
    """Our id of each metric, and the name in the output of `reference.py`."""

    def our_metrics(self) -> str:
        """The argument of `sightline score --metrics`."""
        return ",".join(self.names)


GROUPS = (
    Group(
        name="captions",
        peer="pycocoevalcap",
        peer_metrics="bleu,rouge-l,cider,meteor",
        names={
            "bleu-1": "Bleu_1",
            "bleu-2": "Bleu_2",
            "bleu-3": "Bleu_3",
            "bleu-4": "Bleu_4",
            "rouge-l": "ROUGE_L",
            "meteor": "METEOR",
            "cider-d": "CIDEr",
        },
    ),
    Group(
        name="rouge-score",
        peer="rouge-score",
        peer_metrics="rouge-score",
        names={
            "rouge-score-1-stem": "rouge1",
            "rouge-score-2-stem": "rouge2",
            "rouge-score-l-stem": "rougeL",
            "rouge-score-lsum-stem": "rougeLsum",
        },
    ),
    Group(
        name="sacrebleu",
        peer="sacrebleu",
        peer_metrics="sacrebleu",
        names={
            "sacrebleu-bleu": "BLEU",
            "sacrebleu-chrf": "chrF2",
            "sacrebleu-chrf++": "chrF2++",
            "sacrebleu-ter": "TER",
        },
    ),
)


def group_named(name: str) -> Group:
    """The group of this name."""
    for group in GROUPS:
        if group.name == name:
            return group
    raise ValueError(f"no group `{name}`, only {', '.join(group.name for group in GROUPS)}")
