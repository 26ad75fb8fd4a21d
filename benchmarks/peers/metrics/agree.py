"""Checks that both sides gave the same values, for the corpus and for each image.

    agree.py --group captions --ours ours.json --our-samples ours.jsonl --reference reference.json

writes a JSON object to stdout: the differences per metric, and `problems`, which is empty when the two
sides agree. Exits with 1 when they do not. This is a command of its own, so that the driver, whose
memory must stay small (see measure.py), does not have to read the values of 40,000 images.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groups import GROUPS, TOLERANCE, Group, group_named

Values = Mapping[str, float]
"""A value for each metric."""

MOST_IDS_NAMED = 5


@dataclass
class Comparison:
    """One metric on both sides."""

    id: str
    ours: float
    reference: float
    corpus_difference: float
    worst_sample_difference: float
    worst_sample: str


def difference(ours: float, reference: float) -> float:
    """The absolute difference; values that are not numbers differ from everything but themselves."""
    if math.isnan(ours) or math.isnan(reference):
        return 0.0 if math.isnan(ours) and math.isnan(reference) else math.inf
    return 0.0 if ours == reference else abs(ours - reference)


def corpus_values(document: Mapping[str, Any]) -> dict[str, float]:
    """The corpus values of an output of either side."""
    if document.get("schema") != 1:
        raise ValueError(f"schema is {document.get('schema')}, this reads 1")
    return {metric["id"]: number(metric["value"]) for metric in document["metrics"]}


def number(value: Any) -> float:
    """A JSON number, or one of the words that stand for what JSON cannot write."""
    return math.nan if value is None else float(value)


def our_sample_values(path: Path) -> dict[str, dict[str, float]]:
    """The values of each image in the file that `sightline score --per-sample` writes."""
    with path.open(encoding="utf-8") as lines:
        return sample_values([json.loads(line) for line in lines])


def sample_values(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The values of each image by its id."""
    values = {
        str(row["id"]): {name: number(value) for name, value in row.items() if name != "id"} for row in rows
    }
    if len(values) != len(rows):
        raise ValueError(f"{len(rows)} samples have only {len(values)} different ids")
    return values


def corpus_problems(group: Group, ours: Values, reference: Values) -> list[str]:
    """What is wrong with our corpus values."""
    missing = [name for name in group.names if name not in ours]
    if missing:
        return [f"no value for {', '.join(missing)}"]
    return [
        f"{name}: {ours[name]!r}, the reference says {reference[peer]!r}"
        for name, peer in group.names.items()
        if difference(ours[name], reference[peer]) > TOLERANCE
    ]


def sample_problems(group: Group, ours: Mapping[str, Values], reference: Mapping[str, Values]) -> list[str]:
    """What is wrong with our values of images: ids that do not match, or every metric that differs."""
    if ours.keys() != reference.keys():
        only_ours = named(ours.keys() - reference.keys())
        only_reference = named(reference.keys() - ours.keys())
        return [f"samples only on our side: {only_ours}; only on the other: {only_reference}"]
    problems = []
    for name, peer in group.names.items():
        if any(name not in values for values in ours.values()):
            problems.append(f"{name}: not every sample has a value")
            continue
        wrong = [id for id in ours if difference(ours[id][name], reference[id][peer]) > TOLERANCE]
        if wrong:
            pairs = ", ".join(
                f"{id} ({ours[id][name]!r}, the reference says {reference[id][peer]!r})"
                for id in wrong[:MOST_IDS_NAMED]
            )
            problems.append(f"{name}: {len(wrong)} of {len(ours)} samples differ: {pairs}")
    return problems


def named(ids: set[str]) -> str:
    """The first few ids and how many there are."""
    return f"{len(ids)} {sorted(ids)[:MOST_IDS_NAMED]}"


def comparisons(
    group: Group,
    ours: Values,
    reference: Values,
    our_samples: Mapping[str, Values],
    reference_samples: Mapping[str, Values],
) -> list[Comparison]:
    """The size of the differences; both sides must have the same metrics and images."""
    rows = []
    for name, peer in group.names.items():
        worst, sample = max(
            (difference(our_samples[id][name], reference_samples[id][peer]), id) for id in our_samples
        )
        gap = difference(ours[name], reference[peer])
        rows.append(Comparison(name, ours[name], reference[peer], gap, worst, sample))
    return rows


def agreement(group: Group, ours: Path, our_samples: Path, reference: Path) -> dict[str, Any]:
    """Compares the outputs of the two sides."""
    theirs = json.loads(reference.read_text(encoding="utf-8"))
    our_corpus, their_corpus = corpus_values(json.loads(ours.read_text("utf-8"))), corpus_values(theirs)
    our_values, their_values = our_sample_values(our_samples), sample_values(theirs["samples"])
    problems = corpus_problems(group, our_corpus, their_corpus)
    problems += sample_problems(group, our_values, their_values)
    result: dict[str, Any] = {"samples": len(their_values), "tolerance": TOLERANCE, "problems": problems}
    if not problems:
        rows = comparisons(group, our_corpus, their_corpus, our_values, their_values)
        result["metrics"] = [asdict(row) for row in rows]
    return result


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Checks that both sides gave the same values.")
    parser.add_argument("--group", choices=[group.name for group in GROUPS], required=True)
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--our-samples", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    arguments = parser.parse_args()
    result = agreement(
        group_named(arguments.group), arguments.ours, arguments.our_samples, arguments.reference
    )
    print(json.dumps(result))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
