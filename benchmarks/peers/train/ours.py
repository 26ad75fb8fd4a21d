"""Watching our program from outside: its CPU time at certain steps, and where it goes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driver import Failed
from measure import children

LOOK_EVERY_S = 0.003
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LEAST_SHARE = 0.01
"""Of the functions that a profile shows."""
SHOWN = 20


class CpuWatch(threading.Thread):
    """Reads the CPU time of the driver's child when a file has so many lines: `speed.jsonl` gets one a step."""

    def __init__(self, file: Path, at: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.file, self.at = file, sorted(at)
        self.seen: dict[int, float] = {}
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
                    self.seen[number] = cpu

    def stop(self) -> dict[int, float]:
        """Seconds at each number of lines that was seen."""
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


def profile(command: Sequence[str], env: Mapping[str, str], data: Path) -> list[dict[str, Any]] | None:
    """The functions that took most of the second half of the time of `command`; `None` where there is no `perf`."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    record = [perf, "record", "--quiet", "--freq=499", f"--output={data}", "--", *command]
    done = subprocess.run(record, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"`perf record` ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    told = [perf, "report", f"--input={data}", "--stdio", "--sort=symbol", "--percent-limit=0.5", "--time=50%-100%"]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    return functions(done.stdout)


def functions(text: str) -> list[dict[str, Any]]:
    """The lines of `perf report --sort=symbol` as names and shares, without hashes and parameters of types."""
    found: dict[str, float] = {}
    for percent, name in re.findall(r"^\s+(\d+\.\d+)%\s+\[[.k]\]\s+(.+?)\s*$", text, re.MULTILINE):
        # Columns without a value follow the name.
        name = plain(re.split(r"\s{2,}", name)[0])
        found[name] = found.get(name, 0.0) + float(percent) / 100.0
    rows = sorted(found.items(), key=lambda row: -row[1])[:SHOWN]
    return [{"name": name, "share": share} for name, share in rows if share >= LEAST_SHARE]


def plain(name: str) -> str:
    """A function's name that people can read."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    parts = [part for part in name.split("::") if part]
    return "::".join(parts[-3:]) or name
