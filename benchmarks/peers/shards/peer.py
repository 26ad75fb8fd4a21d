"""Runs one workload of the shards bench with a library from PyPI and says how long it took.

    peer.py LIBRARY WORKLOAD FOLDER [MORE] [--decode] [--digest] [--workers N]

| library | workloads |
| --- | --- |
| webdataset | `read`, `write OUT`, `convert OUT` (to MDS, with streaming's writer) |
| wids | `random ROWS` |
| streaming, litdata | `read`, `random ROWS` |

ROWS is a JSON list of sample numbers. Prints one JSON object: samples, bytes of their images, the seconds of the workload
(wall, and CPU of all processes) without the imports, and with `--digest` the SHA-256 over keys and images, or keys and pixels.
`crates/bench/src/bin/shards.rs` does the same with our libraries.

The settings are those that each library documents for speed: no shuffling, no resampling, `torch.utils.data.DataLoader`
with as many workers as there are CPUs, and none for one CPU. Images are decoded by Pillow to arrays of bytes, as
`webdataset`'s own `rgb8` does it. The captions and metadata of a sample are bytes with everyone.

Run by the Python of .venv/shards.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

PER_SHARD = 1000
Found = tuple[str, Any]
"""A key, and the bytes of an image or its pixels."""


class Seen:
    """What a workload went through."""

    def __init__(self, wants_digest: bool) -> None:
        self.samples = 0
        self.bytes = 0
        self.hasher = hashlib.sha256() if wants_digest else None

    def look(self, key: str, image: Any) -> None:
        """Counts a sample."""
        self.samples += 1
        self.bytes += image.nbytes if hasattr(image, "nbytes") else len(image)
        if self.hasher is not None:
            content = image.tobytes() if hasattr(image, "tobytes") else image
            self.hasher.update(hashlib.sha256(key.encode() + b"\0" + content).digest())


def pixels(data: bytes) -> Any:
    """The pixels of a file."""
    import numpy
    from PIL import Image

    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def tars(folder: Path) -> list[str]:
    """The archives of a folder, sorted."""
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def loaded(dataset: Any, workers: int) -> Iterable[Any]:
    """The samples of an iterable dataset, read by `workers` processes where there is more than one."""
    if workers <= 1:
        return dataset
    import torch

    return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)


def webdataset_read(folder: Path, decode: bool, workers: int) -> Iterator[Found]:
    """Archives by `webdataset`."""
    import webdataset

    dataset = webdataset.WebDataset(tars(folder), shardshuffle=False)
    if decode:
        dataset = dataset.decode("rgb8")
    for sample in loaded(dataset, workers):
        yield sample["__key__"], sample["jpg"]


def streaming_dataset(folder: Path) -> Any:
    """An MDS folder."""
    import streaming

    streaming.base.util.clean_stale_shared_memory()
    return streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1)


def litdata_dataset(folder: Path) -> Any:
    """A litData folder."""
    import litdata

    return litdata.StreamingDataset(str(folder), shuffle=False)


def fields(samples: Iterable[Any], decode: bool) -> Iterator[Found]:
    """Keys and images of samples as `sightline shards convert` names their columns."""
    for sample in samples:
        image = bytes(sample["image"])
        yield sample["key"], pixels(image) if decode else image


def streaming_read(folder: Path, decode: bool, workers: int) -> Iterator[Found]:
    """MDS by `mosaicml-streaming`."""
    return fields(loaded(streaming_dataset(folder), workers), decode)


def litdata_read(folder: Path, decode: bool, workers: int) -> Iterator[Found]:
    """Chunks by `litdata`, whose own loader is made for it."""
    dataset = litdata_dataset(folder)
    if workers <= 1:
        return fields(dataset, decode)
    import litdata

    loader = litdata.StreamingDataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=first)
    return fields(loader, decode)


def first(batch: list[Any]) -> Any:
    """The only sample of a batch, as bytes: views of memory, which litData gives, cannot be sent from one process to another."""
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in batch[0].items()}


def wids_random(folder: Path, rows: list[int]) -> Callable[[], Iterator[Found]]:
    """Samples of archives by their numbers, by `wids`, with the index that `sightline shards index` wrote."""
    import wids

    index = json.loads((folder / "index.wids.json").read_text(encoding="utf-8"))
    shards = [{**shard, "url": str(folder / shard["url"])} for shard in index["shardlist"]]
    dataset = wids.ShardListDataset(shards, cache_dir=str(folder / "wids-cache"), keep=True, transformations=[])

    def read() -> Iterator[Found]:
        for row in rows:
            sample = dataset[row]
            yield sample["__key__"], sample[".jpg"].read()

    return read


def by_number(dataset: Any, rows: list[int]) -> Callable[[], Iterator[Found]]:
    """Samples by their numbers."""
    return lambda: fields((dataset[row] for row in rows), decode=False)


def all_samples(folder: Path) -> list[dict[str, Any]]:
    """Every sample of the archives, in memory, as bytes."""
    import webdataset

    dataset = webdataset.WebDataset(tars(folder), shardshuffle=False)
    return [{k: v for k, v in sample.items() if k in ("__key__", "jpg", "txt", "json")} for sample in dataset]


def write_some(job: tuple[Path, int, list[dict[str, Any]]]) -> list[Found]:
    """Writes one archive."""
    import webdataset

    out, shard, samples = job
    with webdataset.TarWriter(str(out / f"{shard:05d}.tar")) as writer:
        for sample in samples:
            writer.write(sample)
    return [(sample["__key__"], sample["jpg"]) for sample in samples]


def webdataset_write(out: Path, samples: list[dict[str, Any]], workers: int) -> Iterator[Found]:
    """Archives by `webdataset.TarWriter`, side by side where there is more than one worker."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(out, at // PER_SHARD, samples[at : at + PER_SHARD]) for at in range(0, len(samples), PER_SHARD)]
    if workers <= 1:
        for job in jobs:
            yield from write_some(job)
        return
    with ProcessPoolExecutor(workers) as pool:
        for written in pool.map(write_some, jobs):
            yield from written


def webdataset_convert(folder: Path, out: Path) -> Iterator[Found]:
    """Archives by `webdataset` into MDS by `streaming`."""
    import streaming
    import webdataset

    columns = {"key": "str", "image": "jpeg", "txt": "str", "json": "bytes"}
    with streaming.MDSWriter(out=str(out), columns=columns) as writer:
        for sample in webdataset.WebDataset(tars(folder), shardshuffle=False):
            writer.write({
                "key": sample["__key__"], "image": sample["jpg"], "txt": sample["txt"].decode(), "json": sample["json"],
            })
            yield sample["__key__"], sample["jpg"]


def workload(arguments: argparse.Namespace) -> Callable[[], Iterator[Found]]:
    """What is timed; imports and what opens a dataset come before."""
    library, what, folder, workers = arguments.library, arguments.workload, arguments.folder, arguments.workers
    rows = json.loads(arguments.more.read_text(encoding="utf-8")) if what == "random" else []
    if workers > 1:
        import torch  # noqa: F401
    match library, what:
        case "webdataset", "read":
            import webdataset  # noqa: F401

            return lambda: webdataset_read(folder, arguments.decode, workers)
        case "webdataset", "write":
            samples = all_samples(folder)
            return lambda: webdataset_write(arguments.more, samples, workers)
        case "webdataset", "convert":
            import streaming  # noqa: F401
            import webdataset  # noqa: F401

            return lambda: webdataset_convert(folder, arguments.more)
        case "wids", "random":
            return wids_random(folder, rows)
        case "streaming", "read":
            import streaming  # noqa: F401

            return lambda: streaming_read(folder, arguments.decode, workers)
        case "streaming", "random":
            return by_number(streaming_dataset(folder), rows)
        case "litdata", "read":
            import litdata  # noqa: F401

            return lambda: litdata_read(folder, arguments.decode, workers)
        case "litdata", "random":
            return by_number(litdata_dataset(folder), rows)
    raise SystemExit(f"{library} has no workload {what}")


def cpu_s() -> float:
    """User and system time of this process and of those that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs one workload of the shards bench.")
    parser.add_argument("library", choices=("webdataset", "wids", "streaming", "litdata"))
    parser.add_argument("workload", choices=("read", "write", "random", "convert"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("more", type=Path, nargs="?")
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    act = workload(arguments)
    seen = Seen(arguments.digest)
    began, cpu = time.perf_counter(), cpu_s()
    for key, image in act():
        seen.look(key, image)
    result = {"samples": seen.samples, "bytes": seen.bytes}
    result |= {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - cpu}
    result["digest"] = seen.hasher.hexdigest() if seen.hasher else None
    # The libraries print to standard output too: this is the last line.
    print(json.dumps(result))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
