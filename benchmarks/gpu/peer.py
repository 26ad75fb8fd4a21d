"""torchvision on the same photos: JPEG bytes in memory to [B, 3, 224, 224] bf16 on the card.

    peer.py FOLDER OUT.json [--ours VALUES.bin] [--quick]

`decode_jpeg(device="cuda")`, which gives nvJPEG a whole batch, then v2's antialiased bicubic resize of the shorter side
to 224, centre crop, and normalisation with CLIP's constants. With more threads, each takes batches of its own on a
stream of its own. VALUES.bin holds this project's bf16 values of the first 64 small photos: the largest and the mean
difference are printed, in levels of a byte.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torchvision
from torchvision.io import decode_jpeg
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]


def prepared(files: list[torch.Tensor]) -> torch.Tensor:
    """One batch on the card."""
    pictures = decode_jpeg(files, mode=torchvision.io.ImageReadMode.RGB, device="cuda")
    cropped = [
        functional.center_crop(
            functional.resize(picture, [224], interpolation=InterpolationMode.BICUBIC, antialias=True), [224, 224]
        )
        for picture in pictures
    ]
    batch = v2.functional.to_dtype(torch.stack(cropped), torch.float32, scale=True)
    return functional.normalize(batch, MEAN, STD).to(torch.bfloat16)


def rate(files: list[torch.Tensor], batch: int, threads: int, seconds: float) -> float:
    """Images a second of `threads` threads that take batches in turn."""
    batches = [[files[(start + i) % len(files)] for i in range(batch)] for start in range(0, len(files), batch)]

    def work(count: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for i in range(count):
                prepared(batches[i % len(batches)])
            torch.cuda.current_stream().synchronize()

    def run(count: int) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [count] * threads))
        torch.cuda.synchronize()
        return time.perf_counter() - start

    run(1)
    took = run(2)
    count = max(2, round(2 * seconds / took))
    return count * threads * batch / run(count)


def floors() -> dict[str, float]:
    """What the card can do: bytes of a copy and operations of a matrix product, each a second."""

    def timed(work, operations: float) -> float:
        for _ in range(3):
            work()
        times = []
        for _ in range(10):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return operations / statistics.median(times)

    source = torch.randint(0, 255, (1 << 31,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), 2 * source.numel())
    del source, target
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    return {"copy_bytes_per_second": copy, "bf16_operations_per_second": timed(lambda: a @ b, 2 * 8192**3)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, object] = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "card": torch.cuda.get_device_name(0),
        "floors": floors(),
    }
    print(found, flush=True)

    def read(name: str) -> list[torch.Tensor]:
        paths = sorted((arguments.folder / name).iterdir())
        return [torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths]

    small, large = read("small"), read("large")
    if arguments.ours and arguments.ours.exists():
        theirs = prepared(small[:64]).float().cpu()
        ours = torch.frombuffer(bytearray(arguments.ours.read_bytes()), dtype=torch.bfloat16)
        ours = ours.reshape(theirs.shape).float()
        levels = (ours - theirs).abs() * torch.tensor(STD).reshape(1, 3, 1, 1) * 255
        found["difference"] = {"mean_levels": levels.mean().item(), "max_levels": levels.max().item()}
        print(found["difference"], flush=True)
    rows = []
    for name, files, batch in [("small", small, 256), ("large", large, 64)]:
        for threads in [1, 4, 16]:
            one = rate(files, batch, threads, 0.3 if arguments.quick else 1.0)
            rows.append({"photos": name, "threads": threads, "batch": batch, "images_per_second": one})
            print(f"torchvision {name}, {threads} threads: {one:.0f} images/s", flush=True)
            found["rows"] = rows
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
