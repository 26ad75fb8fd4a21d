"""How the reference programs get from the bytes of a JPEG to `[3, 224, 224]` float32, normalised.

A function of `BUILDERS` loads what it needs and gives the function that prepares one image. Each is in
the fastest arrangement that was found with the pinned versions (timings in images/s, one CPU, 500×375):

* torchvision: the pixels go to float32 and are normalised with 255 times the constants, in place, as the
  fast processor does (530); `to_dtype` and `normalize` in turn make one more pass (475).
* The fast processors take one image at a time: batches of 16 gain nothing but memory.
* Pillow: numpy works on planes, made from a view of the cropped bytes (260; interleaved 225).
* OpenCV: `split`, then a multiplication and an addition for each plane (405; interleaved 350,
  `blobFromImageWithParams` 400). Its INTER_AREA is the only antialiased way to shrink that it has.

All of them ignore the EXIF orientation, and crop where the Hugging Face processors crop, but for open_clip.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from specs import MEAN, SIDE, STD, corner, resized

Prepare = Callable[[bytes], Any]
Builder = Callable[[int], Prepare]
"""Takes the number of threads that the library itself may use."""


def torchvision_decoder(threads: int) -> Prepare:
    """`decode_jpeg` to `[3, H, W]` uint8."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    torch.set_num_threads(threads)

    def decode(jpeg: bytes) -> Any:
        # Decoding only reads: the copy spares a warning about bytes that cannot be written.
        data = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
        return decode_jpeg(data, mode=ImageReadMode.RGB)

    return torch.inference_mode()(decode)  # type: ignore[no-any-return]


def torchvision_by_hand(threads: int) -> Prepare:
    """Decoding, resizing on uint8, cropping, normalising."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode, functional

    decode = torchvision_decoder(threads)
    mean = torch.tensor(MEAN).view(3, 1, 1) * 255
    std = torch.tensor(STD).view(3, 1, 1) * 255

    def prepare(jpeg: bytes) -> Any:
        pixels = decode(jpeg)
        width, height = resized(pixels.shape[2], pixels.shape[1])
        pixels = functional.resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)
        left, top = corner(width, height)
        pixels = pixels[:, top : top + SIDE, left : left + SIDE].contiguous()
        return pixels.to(torch.float32).sub_(mean).div_(std)

    return torch.inference_mode()(prepare)  # type: ignore[no-any-return]


def hf_fast_from_torchvision(threads: int) -> Prepare:
    """The fast processor on decoded tensors."""
    import torch
    from transformers import CLIPImageProcessorFast

    decode = torchvision_decoder(threads)
    processor = CLIPImageProcessorFast()

    def prepare(jpeg: bytes) -> Any:
        return processor(decode(jpeg), return_tensors="pt")["pixel_values"][0]

    return torch.inference_mode()(prepare)  # type: ignore[no-any-return]


def hf_fast(threads: int) -> Prepare:
    """The fast processor on Pillow images."""
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessorFast

    torch.set_num_threads(threads)
    processor = CLIPImageProcessorFast()

    def prepare(jpeg: bytes) -> Any:
        return processor(Image.open(io.BytesIO(jpeg)), return_tensors="pt")["pixel_values"][0]

    return torch.inference_mode()(prepare)  # type: ignore[no-any-return]


def hf_slow(threads: int) -> Prepare:
    """The slow processor, to numpy."""
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessor

    torch.set_num_threads(threads)
    processor = CLIPImageProcessor()

    def prepare(jpeg: bytes) -> Any:
        return processor(Image.open(io.BytesIO(jpeg)), return_tensors="np")["pixel_values"][0]

    return prepare


def open_clip(threads: int) -> Prepare:
    """open_clip's transform for evaluation."""
    import torch
    from open_clip import image_transform
    from PIL import Image

    torch.set_num_threads(threads)
    transform = image_transform(
        SIDE, is_train=False, mean=MEAN, std=STD, resize_mode="shortest", interpolation="bicubic"
    )

    def prepare(jpeg: bytes) -> Any:
        return transform(Image.open(io.BytesIO(jpeg)))

    return torch.inference_mode()(prepare)  # type: ignore[no-any-return]


def pillow_decoder(threads: int) -> Prepare:
    """Pillow has no threads of its own."""
    del threads
    from PIL import Image

    def decode(jpeg: bytes) -> Any:
        return Image.open(io.BytesIO(jpeg)).convert("RGB")

    return decode


def pillow_by_hand(threads: int) -> Prepare:
    """Decoding and resizing by Pillow, the rest by numpy."""
    import numpy as np
    from PIL import Image

    decode = pillow_decoder(threads)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))

    def prepare(jpeg: bytes) -> Any:
        image = decode(jpeg)
        image = image.resize(resized(*image.size), Image.Resampling.BICUBIC)
        left, top = corner(*image.size)
        pixels = np.asarray(image)[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1)
        planes = pixels.astype(np.float32, order="C")
        planes /= np.float32(255)
        planes -= mean
        planes /= std
        return planes

    return prepare


def opencv_decoder(threads: int) -> Prepare:
    """`imdecode` to RGB."""
    import cv2
    import numpy as np

    cv2.setNumThreads(threads)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(jpeg: bytes) -> Any:
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)

    return decode


def opencv_by_hand(threads: int) -> Prepare:
    """Decoding, resizing and splitting by OpenCV, the rest by numpy."""
    import cv2
    import numpy as np

    decode = opencv_decoder(threads)
    mean, std = (np.array(values, np.float32) for values in (MEAN, STD))
    factors, offsets = 1 / (255 * std), -mean / std

    def prepare(jpeg: bytes) -> Any:
        image = decode(jpeg)
        width, height = resized(image.shape[1], image.shape[0])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        left, top = corner(width, height)
        planes = np.empty((3, SIDE, SIDE), np.float32)
        for channel, plane in enumerate(cv2.split(image[top : top + SIDE, left : left + SIDE])):
            np.multiply(plane, factors[channel], out=planes[channel])
            planes[channel] += offsets[channel]
        return planes

    return prepare


BUILDERS: Mapping[str, Builder] = {
    "torchvision": torchvision_by_hand,
    "hf-fast-tv": hf_fast_from_torchvision,
    "hf-fast": hf_fast,
    "hf-slow": hf_slow,
    "open-clip": open_clip,
    "pillow": pillow_by_hand,
    "opencv": opencv_by_hand,
    "torchvision-decode": torchvision_decoder,
    "pillow-decode": pillow_decoder,
    "opencv-decode": opencv_decoder,
}
