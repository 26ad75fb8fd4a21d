"""Scores captions with the reference programs and says how long each step took.

The metrics are those of pycocoevalcap (`bleu`, `rouge-l`, `cider`, `meteor`, after its own tokenizer),
rouge-score (`rouge-score`) and sacrebleu (`sacrebleu`), each called the way its documentation does.
One process; pycocoevalcap starts its two Java programs itself.

    reference.py --references captions.json --predictions results.json --metrics bleu,cider

writes one JSON object to stdout and nothing else (what the programs print goes to stderr):

    {"schema": 1, "versions": {"pycocoevalcap": "1.2", ...},
     "metrics": [{"id": "Bleu_1", "value": 0.63}, ...],
     "samples": [{"id": "139", "Bleu_1": 0.5, ...}, ...],
     "phases": [{"name": "import", "start_s": 81.20, "end_s": 81.45, "cpu_s": 0.24}, ...]}

The ids are the programs' own names. `samples` is there with `--per-sample` only. The times of `phases`
are those of the system-wide monotonic clock, so that whoever started this process can relate them to
its own measurements; `cpu_s` includes the Java programs that ended in the phase.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("pycocoevalcap", "rouge-score", "sacrebleu", "nltk", "numpy")

Captions = dict[int, list[str]]
"""The captions of each image, in the order of the file."""


@dataclass
class Phase:
    """One step of the work, on the system-wide monotonic clock."""

    name: str
    start_s: float
    end_s: float
    cpu_s: float


@dataclass
class Clock:
    """Collects phases."""

    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block under `name`."""
        start_s, cpu_s = time.monotonic(), cpu_seconds()
        yield
        self.phases.append(Phase(name, start_s, time.monotonic(), cpu_seconds() - cpu_s))


@dataclass
class Scores:
    """What the reference programs computed."""

    corpus: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    """One value for each image, in the order of the images; metrics without such values are absent."""


@dataclass(frozen=True)
class Inputs:
    """The captions to compare: both maps have the same images in the same order."""

    references: Captions
    candidates: Captions
    wants_samples: bool

    def pairs(self) -> Iterator[tuple[list[str], str]]:
        """The references and the candidate of each image."""
        for image, references in self.references.items():
            yield references, self.candidates[image][0]


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_inputs(references: Path, predictions: Path, *, wants_samples: bool) -> Inputs:
    """Reads a COCO caption file and a COCO results file that has one caption for each of its images."""
    truth = json.loads(references.read_text(encoding="utf-8"))
    grouped: Captions = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        grouped[annotation["image_id"]].append(annotation["caption"])

    results = json.loads(predictions.read_text(encoding="utf-8"))
    found = {result["image_id"]: [result["caption"]] for result in results}
    if len(found) != len(results) or found.keys() != grouped.keys():
        raise SystemExit(f"`{predictions}` must have one caption for each image of `{references}`")
    return Inputs(grouped, {image: found[image] for image in grouped}, wants_samples)


# pycocoevalcap


def score_coco(metrics: Sequence[str], inputs: Inputs, clock: Clock) -> Scores:
    """Tokenizes with pycocoevalcap and runs its scorers, as its `COCOEvalCap.evaluate` does."""
    with clock.phase("import"):
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with clock.phase("tokenize"):
        tokenizer = PTBTokenizer()
        references = tokenizer.tokenize(as_annotations(inputs.references))
        candidates = tokenizer.tokenize(as_annotations(inputs.candidates))

    scorers: dict[str, tuple[list[str], Callable[[], Any]]] = {
        "bleu": (["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"], lambda: Bleu(4)),
        "rouge-l": (["ROUGE_L"], Rouge),
        "cider": (["CIDEr"], Cider),
        "meteor": (["METEOR"], Meteor),
    }
    scores = Scores()
    for metric in metrics:
        names, make = scorers[metric]
        with clock.phase(metric):
            scorer = make()
            corpus, samples = scorer.compute_score(references, candidates)
            # Ends METEOR's Java program, so that its time belongs to this phase.
            del scorer
        if len(names) == 1:
            corpus, samples = [corpus], [samples]
        for name, value, values in zip(names, corpus, samples, strict=True):
            scores.corpus[name] = float(value)
            scores.samples[name] = [float(value) for value in values]
    return scores


def as_annotations(captions: Captions) -> dict[int, list[dict[str, str]]]:
    """The captions in the form that pycocoevalcap's tokenizer takes."""
    return {image: [{"caption": caption} for caption in texts] for image, texts in captions.items()}


# rouge-score


def score_rouge(_metrics: Sequence[str], inputs: Inputs, clock: Clock) -> Scores:
    """F1 with stems against the best reference; the corpus value is the mean over images."""
    with clock.phase("import"):
        from rouge_score.rouge_scorer import RougeScorer

    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scores = Scores(samples={name: [] for name in types})
    with clock.phase("rouge-score"):
        scorer = RougeScorer(types, use_stemmer=True)
        for references, candidate in inputs.pairs():
            result = scorer.score_multi(references, candidate)
            for name in types:
                scores.samples[name].append(float(result[name].fmeasure))
    for name, values in scores.samples.items():
        scores.corpus[name] = sum(values) / len(values)
    return scores


# sacrebleu


def score_sacrebleu(_metrics: Sequence[str], inputs: Inputs, clock: Clock) -> Scores:
    """BLEU, chrF, chrF++ and TER of the corpus; of each image only if samples are wanted."""
    with clock.phase("import"):
        import sacrebleu

    candidates = [candidate for _, candidate in inputs.pairs()]
    streams = reference_streams(list(inputs.references.values()))
    corpus: dict[str, Callable[[], Any]] = {
        "BLEU": lambda: sacrebleu.corpus_bleu(candidates, streams),
        "chrF2": lambda: sacrebleu.corpus_chrf(candidates, streams),
        "chrF2++": lambda: sacrebleu.corpus_chrf(candidates, streams, word_order=2),
        "TER": lambda: sacrebleu.corpus_ter(candidates, streams),
    }
    scores = Scores()
    for name, score in corpus.items():
        with clock.phase(f"sacrebleu {name}"):
            scores.corpus[name] = float(score().score)
    if not inputs.wants_samples:
        return scores

    sentence: dict[str, Callable[[str, list[str]], Any]] = {
        "BLEU": sacrebleu.sentence_bleu,
        "chrF2": sacrebleu.sentence_chrf,
        "chrF2++": lambda candidate, refs: sacrebleu.sentence_chrf(candidate, refs, word_order=2),
        "TER": sacrebleu.sentence_ter,
    }
    for name, score_one in sentence.items():
        with clock.phase(f"sacrebleu {name}, each image"):
            scores.samples[name] = [
                float(score_one(candidate, references).score) for references, candidate in inputs.pairs()
            ]
    return scores


def reference_streams(references: Sequence[Sequence[str]]) -> list[list[Any]]:
    """Turns references per image into sacrebleu's streams, with `None` where an image has fewer."""
    depth = max(len(texts) for texts in references)
    return [[texts[i] if i < len(texts) else None for texts in references] for i in range(depth)]


SCORERS: Mapping[str, Callable[[Sequence[str], Inputs, Clock], Scores]] = {
    "bleu": score_coco,
    "cider": score_coco,
    "meteor": score_coco,
    "rouge-l": score_coco,
    "rouge-score": score_rouge,
    "sacrebleu": score_sacrebleu,
}


def score(metrics: Sequence[str], inputs: Inputs, clock: Clock) -> Scores:
    """Runs each reference program once, with all the metrics that are wanted of it."""
    total = Scores()
    for scorer in dict.fromkeys(SCORERS[metric] for metric in metrics):
        part = scorer([metric for metric in metrics if SCORERS[metric] is scorer], inputs, clock)
        total.corpus |= part.corpus
        total.samples |= part.samples
    return total


def report(scores: Scores, inputs: Inputs, clock: Clock) -> dict[str, Any]:
    """The object that is written to stdout."""
    result: dict[str, Any] = {
        "schema": 1,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "metrics": [{"id": name, "value": value} for name, value in scores.corpus.items()],
    }
    if inputs.wants_samples:
        result["samples"] = [
            {"id": str(image)} | {name: values[row] for name, values in scores.samples.items()}
            for row, image in enumerate(inputs.references)
        ]
    result["phases"] = [vars(phase) for phase in clock.phases]
    return result


@contextmanager
def stdout_for_data_only() -> Iterator[int]:
    """Gives the block the descriptor of stdout; prints, also those of children, go to stderr."""
    data = os.dup(1)
    os.dup2(2, 1)
    try:
        yield data
    finally:
        sys.stdout.flush()
        os.dup2(data, 1)
        os.close(data)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Scores captions with the reference programs.")
    parser.add_argument("--references", type=Path, required=True, help="COCO caption JSON")
    parser.add_argument("--predictions", type=Path, required=True, help="COCO results JSON")
    parser.add_argument("--metrics", type=parse_metrics, required=True, help=", ".join(SCORERS))
    parser.add_argument("--per-sample", action="store_true", help="also give the values of each image")
    return parser.parse_args()


def parse_metrics(text: str) -> list[str]:
    """A list of known metrics, separated by commas."""
    metrics = text.split(",")
    for metric in metrics:
        if metric not in SCORERS:
            raise argparse.ArgumentTypeError(f"`{metric}` is none of {', '.join(SCORERS)}")
    return metrics


def main() -> None:
    """Reads, scores, writes."""
    arguments = parse_arguments()
    # The Java that setup.sh chose stands beside this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
    clock = Clock()
    with stdout_for_data_only() as data:
        with clock.phase("read"):
            inputs = read_inputs(
                arguments.references, arguments.predictions, wants_samples=arguments.per_sample
            )
        scores = score(arguments.metrics, inputs, clock)
        with os.fdopen(os.dup(data), "w", encoding="utf-8") as out:
            json.dump(report(scores, inputs, clock), out)
            out.write("\n")


if __name__ == "__main__":
    main()
