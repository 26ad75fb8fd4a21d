#!/usr/bin/env python3
"""Embeddings of the images of shards, JPEG files to vectors on disk: Sightline and torch on the same files and weights.

    embed.py SIGHTLINE PHOTOS OUT [--device cuda:0] [--models clip-b32,clip-l14] [--images 8192]

Writes CLIP checkpoints with random weights and shards of the photos, then in turns (A B A B): `sightline embed`, with
each of its decoders, and torch, whose DataLoader has a worker for each core (PIL decodes, torchvision's antialiased
bicubic resize, as CLIP's own preprocessing does it) and whose model is compiled, in bf16 and batches of 256. Both are
timed from the start of reading to the last vector, without loading and compiling the model. Vectors are compared: the
least cosine between ours and torch's. Prints a JSON object for each run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from transformers import CLIPConfig, CLIPVisionModelWithProjection

BATCH = 256
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VISION = {
    "clip-b32": {"patch_size": 32},
    "clip-l14": {
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
}
SHARD = 1024


def checkpoint(name: str, to: Path) -> None:
    """A CLIP of the published shape with random weights, as Hugging Face keeps it; no text is read, so without a tokenizer."""
    from transformers import CLIPModel

    if (to / "model.safetensors").exists():
        return
    torch.manual_seed(1)
    width = 768 if name == "clip-l14" else 512
    config = CLIPConfig(projection_dim=width, vision_config={**VISION[name], "projection_dim": width})
    CLIPModel(config).save_pretrained(to)


def shards(photos: list[Path], images: int, to: Path) -> None:
    """Tar files of `images` samples, the photos in turn."""
    to.mkdir(parents=True, exist_ok=True)
    files = [photo.read_bytes() for photo in photos]
    for start in range(0, images, SHARD):
        with tarfile.open(to / f"{start // SHARD:05d}.tar", "w") as tar:
            for number in range(start, min(start + SHARD, images)):
                for suffix, value in (("jpg", files[number % len(files)]), ("txt", b"a photo")):
                    member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    member.size = len(value)
                    tar.addfile(member, io.BytesIO(value))


class Images(torch.utils.data.Dataset):
    """The images of tar files, prepared as CLIP's own program does it."""

    def __init__(self, folder: Path) -> None:
        self.files: list[bytes] = []
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.endswith(".jpg"):
                        self.files.append(tar.extractfile(member).read())
        self.prepare = v2.Compose([
            v2.Resize(224, interpolation=InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self.prepare(Image.open(io.BytesIO(self.files[at])).convert("RGB"))


class Torch:
    """The peer, loaded and compiled once."""

    def __init__(self, model: Path, device: str) -> None:
        self.device = torch.device(device)
        loaded = CLIPVisionModelWithProjection.from_pretrained(model, dtype=torch.bfloat16)
        self.model = torch.compile(loaded.to(self.device).eval())
        with torch.inference_mode():
            for _ in range(2):
                self.model(pixel_values=torch.zeros(BATCH, 3, 224, 224, device=self.device, dtype=torch.bfloat16))

    def run(self, folder: Path) -> tuple[float, np.ndarray]:
        """Seconds, and a unit vector for each image."""
        start = time.perf_counter()
        images = Images(folder)
        workers = len(os.sched_getaffinity(0))
        loader = torch.utils.data.DataLoader(images, BATCH, num_workers=workers, pin_memory=True)
        found = []
        with torch.inference_mode():
            for pixels in loader:
                rows = len(pixels)
                pixels = pixels.to(self.device, torch.bfloat16, non_blocking=True)
                if rows < BATCH:
                    # Another shape would be compiled anew.
                    pixels = torch.cat([pixels, pixels.new_zeros(BATCH - rows, 3, 224, 224)])
                vectors = self.model(pixel_values=pixels).image_embeds[:rows].float()
                found.append(vectors / vectors.norm(dim=-1, keepdim=True))
            vectors = torch.cat(found).cpu().numpy()
        return time.perf_counter() - start, vectors


def ours(arguments: argparse.Namespace, model: Path, folder: Path, out: Path, decode: str) -> tuple[float, np.ndarray, dict]:
    """Seconds, vectors, and what the program says in JSON."""
    command = [
        arguments.sightline, "embed", str(model), "--images", *map(str, sorted(folder.glob("*.tar"))),
        "--out", str(out), "--force", "--device", arguments.device, "--weights", "bf16", "--batch-size", str(BATCH),
        "--tokenizer", "word-hash", "--decode", decode, "--json",
    ]  # fmt: skip
    start = time.perf_counter()
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if made.returncode != 0:
        raise RuntimeError(made.stderr[-800:])
    told = json.loads(made.stdout)
    return told.get("seconds", seconds), np.load(out), told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sightline")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--models", default="clip-b32,clip-l14")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--decode", default="host,any")
    arguments = parser.parse_args()
    folder = arguments.out / "shards"
    shards(sorted(arguments.photos.glob("*.jpg")), arguments.images, folder)
    for name in arguments.models.split(","):
        model = arguments.out / name
        checkpoint(name, model)
        peer = Torch(model, arguments.device)
        for round_ in range(arguments.rounds):
            seconds, theirs = peer.run(folder)
            row = {"model": name, "round": round_, "images": len(theirs)}
            told = {"program": f"torch {torch.__version__} compiled", "images_per_s": len(theirs) / seconds}
            print(json.dumps({**row, **told}), flush=True)
            for decode in arguments.decode.split(","):
                try:
                    seconds, vectors, said = ours(arguments, model, folder, arguments.out / "embedded.npy", decode)
                except RuntimeError as error:
                    print(json.dumps({**row, "program": f"sightline, {decode} decodes", "error": str(error)}), flush=True)
                    continue
                cosine = (vectors * theirs).sum(-1) if vectors.shape == theirs.shape else np.array([np.nan])
                told = {"program": f"sightline, {decode} decodes", "images_per_s": len(vectors) / seconds}
                print(json.dumps({**row, **told, "least_cosine": float(cosine.min()), "said": said}), flush=True)


main()
