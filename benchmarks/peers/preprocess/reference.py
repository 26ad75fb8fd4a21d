"""Prepares images with one reference program: warm-up passes, timed passes, or the pixels of one pass.

    reference.py --peer=torchvision --images=images.json --warmups=2 --passes=5
    reference.py --peer=torchvision --images=images.json --out=pixels.npy [--images=… --out=…]

`images.json` is a list of paths. All bytes are read before the first pass. Prints one JSON object: the
seconds of the import, of reading and of every pass (wall, and CPU over all threads), and the resident
memory after the import and at its peak. With `--out` the pixels are written instead, `[N, 3, 224, 224]`
in the order of the paths; several lists may be given, with an `--out` for each.

With several threads either the library uses them on each image (`--arrangement=own`), or as many Python
threads take one image each while the library stays on one (`--arrangement=pool`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peers import PEERS
from pipelines import BUILDERS, Prepare

STATUS = Path("/proc/self/status")


def memory_bytes(line: str) -> int:
    """A line of the status of this process that tells memory in kB."""
    for text in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = text.partition(":")
        if name == line:
            return int(value.split()[0]) * 1024
    raise ValueError(f"`{STATUS}` has no {line}")


def timed(work: Callable[[], None]) -> dict[str, float]:
    """Wall time and CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def prepare_each(prepare: Prepare, jpegs: Sequence[bytes]) -> None:
    """All images, one after the other; the pixels are dropped."""
    for jpeg in jpegs:
        prepare(jpeg)


def prepare_in_pool(pool: ThreadPoolExecutor, prepare: Prepare, jpegs: Sequence[bytes]) -> None:
    """All images, by whichever thread is free."""
    for _ in pool.map(lambda jpeg: prepare(jpeg) is not None, jpegs):
        pass


def write_pixels(prepare: Prepare, jpegs: Sequence[bytes], out: Path) -> None:
    """The pixels of all images as one array."""
    import numpy as np

    np.save(out, np.stack([np.asarray(prepare(jpeg), np.float32) for jpeg in jpegs]))


def read(images: Path) -> list[bytes]:
    """The files of a list of paths."""
    return [Path(file).read_bytes() for file in json.loads(images.read_text(encoding="utf-8"))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Prepares images with one reference program.")
    parser.add_argument("--peer", choices=[peer.name for peer in PEERS], required=True)
    parser.add_argument("--images", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, action="append", default=[])
    parser.add_argument("--warmups", type=int, default=0)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arrangement", choices=["own", "pool"], default="own")
    arguments = parser.parse_args()
    if len(arguments.images) != (len(arguments.out) or 1):
        parser.error("one list of images, or an --out for each")

    started = time.perf_counter()
    prepare = BUILDERS[arguments.peer](arguments.threads if arguments.arrangement == "own" else 1)
    imported = {"import_s": time.perf_counter() - started, "imported_bytes": memory_bytes("VmRSS")}
    if arguments.out:
        for images, out in zip(arguments.images, arguments.out, strict=True):
            write_pixels(prepare, read(images), out)
    else:
        print(json.dumps(time_passes(prepare, arguments) | imported))


def time_passes(prepare: Prepare, arguments: argparse.Namespace) -> dict[str, Any]:
    """All passes over one list of images."""
    started = time.perf_counter()
    jpegs = read(arguments.images[0])
    read_s = time.perf_counter() - started

    with ThreadPoolExecutor(arguments.threads) as pool:

        def one_pass() -> None:
            if arguments.arrangement == "pool":
                prepare_in_pool(pool, prepare, jpegs)
            else:
                prepare_each(prepare, jpegs)

        warmups = [timed(one_pass) for _ in range(arguments.warmups)]
        passes = [timed(one_pass) for _ in range(arguments.passes)]

    return {
        "schema": 1,
        "images": len(jpegs),
        "read_s": read_s,
        "warmups": warmups,
        "passes": passes,
        "peak_bytes": memory_bytes("VmHWM"),
    }


if __name__ == "__main__":
    main()
