"""The table of the reference programs. How each works is in `pipelines.py`."""

from __future__ import annotations

from dataclasses import dataclass

from specs import HF_FAST, HF_SLOW, OPEN_CLIP


@dataclass(frozen=True)
class Peer:
    """One way to get from the bytes of a JPEG to pixels."""

    name: str
    what: str
    spec: str = HF_SLOW
    """Of the specs the one that our program works by beside this peer."""
    tolerance: float | None = None
    """The largest allowed difference to our pixels by `spec`; none where the arithmetic is another."""
    is_reproduced: bool = False
    """A processor that people use as it is and whose pixels our exact mode promises."""
    only_decodes: bool = False


PEERS = (
    Peer(
        "torchvision",
        "torchvision v2: decode_jpeg, functional.resize (bicubic, antialias), crop, normalise in one step",
        spec=HF_FAST,
        tolerance=0.0,
    ),
    Peer(
        "hf-fast-tv",
        "Hugging Face CLIPImageProcessorFast after torchvision's decode_jpeg",
        spec=HF_FAST,
        tolerance=0.0,
    ),
    Peer(
        "hf-fast",
        "Hugging Face CLIPImageProcessorFast on Pillow images",
        spec=HF_FAST,
        tolerance=0.0,
    ),
    Peer("hf-slow", "Hugging Face CLIPImageProcessor", tolerance=0.0, is_reproduced=True),
    Peer("open-clip", "open_clip's image_transform", spec=OPEN_CLIP, tolerance=0.0, is_reproduced=True),
    Peer("pillow", "Pillow and numpy by hand", tolerance=0.0, is_reproduced=True),
    Peer("opencv", "OpenCV: imdecode, resize (INTER_AREA), crop, normalise"),
    Peer("torchvision-decode", "torchvision: decode_jpeg alone", only_decodes=True),
    Peer("pillow-decode", "Pillow: decoding alone", only_decodes=True),
    Peer("opencv-decode", "OpenCV: imdecode alone", only_decodes=True),
)


def peer_named(name: str) -> Peer:
    """The peer of this name, which must be in the table."""
    return next(peer for peer in PEERS if peer.name == name)
