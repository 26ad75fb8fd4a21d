"""Watching our program from outside: its CPU time at certain steps, and where it goes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driver import Failed
from measure import children

Profile = dict[str, Any]

LOOK_EVERY_S = 0.003
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LEAST_SHARE = 0.01
"""Of the rows that a profile shows."""
SHOWN = 20
FREQUENCY = 199
STACK_BYTES = 16384

OWN = re.compile(r"sightline_(?:nn|models|train|preprocess|imaging|text|dataset|synth)::")
OPERATIONS = (
    re.compile(r"candle_core::(?:tensor|backprop)::(?:<impl [\w:]+>|Tensor)::(?!backward$)(\w+)$"),
    re.compile(r"candle_core::storage::Storage::(\w+)$"),
)
"""Candle's, by what it calls them, and where that was inlined by what computes them."""
PHASES = (
    ("loader", re.compile(r"sightline_train::(?:loader|source)::|sightline_preprocess::|sightline_imaging::")),
    ("backward", re.compile(r"candle_core::backprop::|sightline_nn::kernel::gradient")),
    ("optimiser", re.compile(r"sightline_train::(?:adamw::|run::Run::apply)")),
    ("forward", re.compile(r"::objective::|sightline_models::")),
)
"""What a sample belongs to: the first that one of its frames matches. What worker threads do is mostly none of them."""


class Watch(threading.Thread):
    """Reads the clock and the CPU time of the driver's child when a file has so many lines: `speed.jsonl` gets one a step."""

    def __init__(self, file: Path, at: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.file, self.at = file, sorted(at)
        self.seen: dict[int, tuple[float, float]] = {}
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        """Looks until told to stop."""
        waited_for = list(self.at)
        while waited_for and not self._stopped.wait(LOOK_EVERY_S):
            count = line_count(self.file)
            while waited_for and count >= waited_for[0]:
                # One that was passed between two looks is not known.
                number = waited_for.pop(0)
                child = next(iter(children(os.getpid())), None)
                if count == number and child is not None and (cpu := cpu_s(child)) is not None:
                    self.seen[number] = (time.monotonic(), cpu)

    def stop(self) -> dict[int, tuple[float, float]]:
        """The time on the monotonic clock and the CPU time at each number of lines that was seen."""
        self._stopped.set()
        self.join()
        return self.seen


def line_count(file: Path) -> int:
    """Lines of a file, 0 when it is not there."""
    try:
        return file.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def cpu_s(pid: int) -> float | None:
    """User and system time of a process with all its threads, in ticks of a hundredth; `None` when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in brackets, may hold anything.
    fields = text.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def profile(command: Sequence[str], env: Mapping[str, str], data: Path, speed: Path, warmups: int) -> Profile | None:
    """Where the time of `command` goes from its line `warmups` in the file `speed` on; `None` where there is no `perf`."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    options = ["--quiet", "--clockid=monotonic", f"--freq={FREQUENCY}", f"--call-graph=dwarf,{STACK_BYTES}", f"--output={data}"]
    watch = Watch(speed, (warmups,))
    record = [perf, "record", *options, "--", *command]
    done = subprocess.run(record, env=dict(env), capture_output=True, text=True, check=False)
    begun = watch.stop().get(warmups, (0.0, 0.0))[0]
    if done.returncode != 0:
        raise Failed(f"`perf record` ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    told = [perf, "script", f"--input={data}", "--no-inline", "--fields=comm,tid,time,ip,sym"]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    data.unlink()
    return attributed([(at, frames) for at, frames in stacks(done.stdout) if at >= begun])


def stacks(text: str) -> list[tuple[float, list[str]]]:
    """The samples that `perf script` printed: seconds, and names of functions, the innermost first."""
    found: list[tuple[float, list[str]]] = []
    for line in text.splitlines():
        if head := re.match(r"^\S.*?\s(\d+\.\d+):\s*$", line):
            found.append((float(head[1]), []))
        elif (frame := re.match(r"^\s+[0-9a-f]+ (.+)$", line)) and found:
            found[-1][1].append(re.sub(r"::h[0-9a-f]{16}$", "", frame[1].strip()))
    return found


def attributed(samples: Sequence[tuple[float, list[str]]]) -> Profile:
    """The shares of phases, and those of who calls which operation in them."""
    phases: Counter[str] = Counter()
    rows: Counter[tuple[str, str, str]] = Counter()
    for _, frames in samples:
        phase = phase_of(frames)
        phases[phase] += 1
        rows[phase, caller(frames), operation(frames)] += 1
    shown = [(row, count) for row, count in rows.most_common(SHOWN) if count >= LEAST_SHARE * len(samples)]
    return {
        "samples": len(samples),
        "phases": {phase: count / len(samples) for phase, count in phases.most_common()},
        "rows": [
            {"phase": phase, "caller": by, "operation": what, "share": count / len(samples)}
            for (phase, by, what), count in shown
        ],
    }


def phase_of(frames: Sequence[str]) -> str:
    """What a sample belongs to."""
    return next((name for name, pattern in PHASES if any(map(pattern.search, frames))), "other")


def caller(frames: Sequence[str]) -> str:
    """The innermost function of ours, but for the loop around everything."""
    own = (frame for frame in frames if OWN.search(frame) and "sightline_train::run::" not in frame)
    return plain(next(own, "")) or "candle"


def operation(frames: Sequence[str]) -> str:
    """The innermost of candle's operations, or else the innermost function."""
    found = (match[1] for pattern in OPERATIONS for frame in frames if (match := pattern.search(frame)))
    return next(found, "") or plain(frames[0] if frames else "") or "unknown"


def plain(name: str) -> str:
    """A function's name that people can read: the last parts, without parameters of types."""
    name = re.sub(r"^<(.+?) as [^<>]+(?:<.*>)?>::", r"\1::", name)
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    parts = [part for part in name.split("::") if part and part != "{{closure}}"]
    return "::".join(parts[-2:]) or name
