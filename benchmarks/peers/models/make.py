"""Makes checkpoints of full size with random weights, and the inputs: what both sides read.

    make.py --work=DIR --workloads=clip-image,captions

Does nothing where they are there already.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, VisualBertConfig, VisualBertForQuestionAnswering

import writers
from workloads import NAMES, WORKLOADS

BATCH = 32
LABELS = 3129


def make_clip(folder: Path) -> None:
    """CLIP ViT-B/32: the sizes of `CLIPConfig`."""
    config = CLIPConfig()
    model = CLIPModel(config)
    model.save_pretrained(folder)


def make_visualbert(folder: Path) -> None:
    """VisualBERT for questions, of base size."""
    config = VisualBertConfig(visual_embedding_dim=2048, num_labels=LABELS)
    VisualBertForQuestionAnswering(config).save_pretrained(folder)


def make_virtex(folder: Path) -> None:
    """VirTex's best published form, as its programs store it."""
    import virtex

    model = virtex.VirTex()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            # VirTex's own initialisation of the head.
            if name.startswith(("textual", "backward_textual")) and tensor.dim() > 1:
                tensor.normal_(0.0, 0.02)
        for name, tensor in model.named_buffers():
            # Statistics as of trained networks: without them the maps of a random one explode or vanish.
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                tensor.normal_(0.0, 0.1)
        for block in model.visual.cnn.modules():
            if hasattr(block, "bn3"):
                block.bn3.weight.fill_(0.2)
    torch.save({"model": model.state_dict(), "iteration": 0}, folder / "model.pth")
    (folder / "config.json").write_text(json.dumps(virtex.CONFIG, indent=1) + "\n", encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    "clip": make_clip,
    "visualbert": make_visualbert,
    "virtex": make_virtex,
    "gpt2": writers.make_gpt2,
    "pythia": writers.make_pythia,
    "flamingo": writers.make_flamingo,
    "magic": writers.make_magic,
    "asif": writers.make_asif,
    "asif-int8": writers.make_asif_int8,
}


def make_inputs(file: Path) -> None:
    """The inputs of all workloads, 32 of each."""
    def words(length: int, high: int) -> torch.Tensor:
        return torch.randint(5, high, (BATCH, length))

    clip_ids = words(77, 49_000)
    clip_ids[:, 0], clip_ids[:, -1] = 49_406, 49_407
    save_file(
        {
            "pixels": torch.randn(BATCH, 3, 224, 224),
            "clip_ids": clip_ids,
            "bert_ids": words(20, 30_000),
            "regions": torch.randn(BATCH, 36, 2048),
        }
        | writers.inputs(BATCH),
        file,
    )


def holds_all(file: Path) -> bool:
    """Whether the inputs of every workload are there: those of an older bench were fewer."""
    if not file.is_file():
        return False
    with safe_open(file, "pt") as opened:
        return set(writers.INPUTS) <= set(opened.keys())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes checkpoints with random weights, and inputs.")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workloads", default=",".join(NAMES))
    arguments = parser.parse_args()
    torch.manual_seed(17)
    inputs = arguments.work / "inputs.safetensors"
    if not holds_all(inputs):
        make_inputs(inputs)
    names = arguments.workloads.split(",")
    for name in dict.fromkeys(one.checkpoint for one in WORKLOADS if one.name in names):
        folder = arguments.work / name
        complete = folder / "complete"
        if not complete.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(17)
            with torch.no_grad():
                MAKERS[name](folder)
            complete.touch()


if __name__ == "__main__":
    main()
