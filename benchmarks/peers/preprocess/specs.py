"""What all contestants compute: CLIP's settings, and the files that tell our program whose pixels to make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIDE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

HF_SLOW = "hf-slow"
HF_FAST = "hf-fast"
OPEN_CLIP = "open-clip"


def hugging_face(processor: str) -> dict[str, Any]:
    """A `preprocessor_config.json`."""
    return {
        "image_processor_type": processor,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def open_clip() -> dict[str, Any]:
    """What an `open_clip_config.json` says about pixels."""
    return {
        "model_cfg": {"vision_cfg": {"image_size": SIDE}},
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


FILES: Mapping[str, tuple[str, dict[str, Any]]] = {
    HF_SLOW: ("hf_slow_preprocessor_config.json", hugging_face("CLIPImageProcessor")),
    HF_FAST: ("hf_fast_preprocessor_config.json", hugging_face("CLIPImageProcessorFast")),
    OPEN_CLIP: ("open_clip_config.json", open_clip()),
}
"""The specs: the name of the file and its content."""


def write(folder: Path) -> dict[str, Path]:
    """Writes the files and gives their paths."""
    paths = {}
    for name, (file, content) in FILES.items():
        paths[name] = folder / file
        paths[name].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return paths


def resized(width: int, height: int) -> tuple[int, int]:
    """Width and height with the short side at `SIDE`; the long one is cut off, not rounded."""
    if width <= height:
        return SIDE, int(SIDE * height / width)
    return int(SIDE * width / height), SIDE


def corner(width: int, height: int) -> tuple[int, int]:
    """Left and top of the centre crop, as the Hugging Face processors place it."""
    return (width - SIDE) // 2, (height - SIDE) // 2
