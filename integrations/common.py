"""A table of URLs on loopback and what one machine makes of it: what the tests of all engines begin and end with."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTIONS = [
    "--caption-col=caption",
    "--image-size=64",
    "--number-sample-per-shard=25",
    "--allow-private-addresses",
    "--thread-count=4",
]


def sightline(program: Path, *arguments: str) -> str:
    """Runs the program and gives what it prints."""
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`sightline {' '.join(arguments)}` ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextmanager
def table(program: Path, work: Path, rows: int) -> Iterator[Path]:
    """A table of `rows` synthetic pictures that are served while the block runs; `work/alone` is what one run gives."""
    sightline(program, "synth", "scenes", f"--out={work / 'scenes'}", f"--train={rows}", "--val=1", "--test=1")
    server = subprocess.Popen(
        [str(program.with_name("sightline-test-server")), "--root", str(work / "scenes"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        words = server.stdout.readline().split()
        base = next((word for word in words if word.startswith("http://")), "").rstrip("/")
        if not base:
            raise SystemExit("the test server did not start")
        text = (work / "scenes/urls/train.csv").read_text(encoding="utf-8")
        urls = work / "urls.csv"
        urls.write_text(text.replace("http://127.0.0.1:8000", base), encoding="utf-8")
        sightline(program, "fetch", str(urls), f"--out={work / 'alone'}", *OPTIONS)
        yield urls
    finally:
        server.kill()
        server.wait()


def check(alone: Path, shared: Path) -> int:
    """That two folders hold the same shards and status tables, byte by byte; gives their number."""
    names = sorted(file.name for file in alone.iterdir() if file.suffix in (".tar", ".parquet"))
    for name in names:
        if (alone / name).read_bytes() != (shared / name).read_bytes():
            raise SystemExit(f"{name} is not what one machine makes")
    index = json.loads((shared / "dataset.json").read_text(encoding="utf-8"))
    if [shard["name"] for shard in index["shards"]] != [name for name in names if name.endswith(".tar")]:
        raise SystemExit("the index does not list the shards")
    return len(index["shards"])


def wait_for(what: str, is_there: object, seconds: float = 60.0) -> None:
    """Waits until `is_there()` holds."""
    end = time.monotonic() + seconds
    while not is_there():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)
