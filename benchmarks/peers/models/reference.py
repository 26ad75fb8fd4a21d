"""Runs one workload with torch: warm-up passes and timed passes over batches, or the outputs of one.

    reference.py --workload=clip-image --checkpoint=DIR --inputs=FILE --batches=1,8 --warmups=1 --seconds=2
    reference.py --workload=clip-image --checkpoint=DIR --inputs=FILE --batches=4 --out=outputs.safetensors

Prints one JSON object: the seconds of the import and of loading, those of every pass of each batch (wall, and CPU
over all threads), and the peak of the resident memory. Passes are made until they take as many seconds as asked for,
at least `LEAST` and at most `MOST`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import writing

LEAST, MOST = 1, 20
STATUS = Path("/proc/self/status")

Run = Callable[[int], Any]
"""Takes the first so many inputs, and gives the output."""


def memory_bytes(line: str) -> int:
    """A line of the status of this process that tells memory in kB."""
    for text in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = text.partition(":")
        if name == line:
            return int(value.split()[0]) * 1024
    raise ValueError(f"`{STATUS}` has no {line}")


def clip_image(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Unit vectors of images."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(checkpoint).eval()
    pixels = inputs["pixels"]

    def run(batch: int) -> Any:
        features = model.get_image_features(pixel_values=pixels[:batch])
        return features / features.norm(dim=-1, keepdim=True)

    return run


def clip_text(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Unit vectors of texts."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(checkpoint).eval()
    ids = inputs["clip_ids"]

    def run(batch: int) -> Any:
        features = model.get_text_features(input_ids=ids[:batch])
        return features / features.norm(dim=-1, keepdim=True)

    return run


def visualbert(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Logits of answers."""
    import torch
    from transformers import VisualBertForQuestionAnswering

    model = VisualBertForQuestionAnswering.from_pretrained(checkpoint).eval()
    ids, regions = inputs["bert_ids"], inputs["regions"]

    def run(batch: int) -> Any:
        return model(
            input_ids=ids[:batch],
            attention_mask=torch.ones_like(ids[:batch]),
            visual_embeds=regions[:batch],
            visual_attention_mask=torch.ones(regions[:batch].shape[:-1], dtype=torch.long),
            visual_token_type_ids=torch.ones(regions[:batch].shape[:-1], dtype=torch.long),
        ).logits

    return run


def virtex_model(checkpoint: Path) -> Any:
    """The model of a `.pth` file."""
    import torch
    import virtex

    model = virtex.VirTex()
    stored = torch.load(checkpoint / "model.pth", map_location="cpu", weights_only=True, mmap=True)
    model.load_state_dict(stored["model"])
    return model.eval()


def r50(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """The last map of the network for images, in whichever memory layout is faster here."""
    import torch

    visual = virtex_model(checkpoint).visual
    layouts = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        candidate = visual.to(memory_format=layout)
        pixels = inputs["pixels"][:8].to(memory_format=layout)
        candidate(pixels)
        started = time.perf_counter()
        candidate(pixels)
        layouts[layout] = time.perf_counter() - started
    layout = min(layouts, key=lambda one: layouts[one])
    visual = visual.to(memory_format=layout)
    pixels = inputs["pixels"].contiguous(memory_format=layout)
    return lambda batch: visual(pixels[:batch]).contiguous()


def captions(checkpoint: Path, inputs: dict[str, Any]) -> Run:
    """Ids of captions."""
    model = virtex_model(checkpoint)
    return lambda batch: model.captions(inputs["pixels"][:batch])


WORKLOADS: dict[str, Callable[[Path, dict[str, Any]], Run]] = {
    "clip-image": clip_image,
    "clip-text": clip_text,
    "visualbert": visualbert,
    "r50": r50,
    "captions": captions,
    "gpt2": writing.language,
    "pythia": writing.language,
    "flamingo": writing.flamingo,
    "magic": writing.magic,
    "asif": writing.asif,
    "asif-int8": writing.asif,
}


def timed(run: Run, batch: int) -> dict[str, float]:
    """Wall time and CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    run(batch)
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def passes(run: Run, batch: int, warmups: int, seconds: float) -> list[dict[str, float]]:
    """The timed passes over a batch."""
    for _ in range(warmups):
        run(batch)
    made: list[dict[str, float]] = []
    while len(made) < LEAST or (len(made) < MOST and sum(one["wall_s"] for one in made) < seconds):
        made.append(timed(run, batch))
    return made


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs one workload with torch.")
    parser.add_argument("--workload", choices=list(WORKLOADS), required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--batches", required=True)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    batches = [int(batch) for batch in arguments.batches.split(",")]

    started = time.perf_counter()
    import torch
    import transformers  # noqa: F401
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(arguments.threads)
    import_s = time.perf_counter() - started
    inputs = load_file(arguments.inputs)
    started = time.perf_counter()
    run = WORKLOADS[arguments.workload](arguments.checkpoint, inputs)
    load_s = time.perf_counter() - started
    with torch.inference_mode():
        if arguments.out is not None:
            save_file({"output": run(batches[0]).contiguous()}, arguments.out)
            return
        made = {str(batch): passes(run, batch, arguments.warmups, arguments.seconds) for batch in batches}
    told = {"schema": 1, "import_s": import_s, "load_s": load_s, "batches": made}
    print(json.dumps(told | {"peak_bytes": memory_bytes("VmHWM")}))


if __name__ == "__main__":
    main()
