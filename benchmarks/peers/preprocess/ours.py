"""Our program's command lines, and what it prints: all that the bench assumes about it is in this file.

    sightline preprocess --spec FILE --images FILE… --out FILE.safetensors [--mode fast]

writes the tensor `pixel_values`, `[N, 3, 224, 224]` float32.

    sightline preprocess --spec FILE --images FILE… --repeat N --threads T --json [--mode fast]

reads all files into memory, prepares them N times without writing, and prints

    {"schema": 1, "images": 64, "threads": 1, "mode": "exact",
     "passes": [{"wall_s": 0.1, "cpu_s": 0.1}, …],
     "stages": {"decode_s": 0.3, "resize_s": 0.1, "normalise_s": 0.01},
     "peak_bytes": 12345678}

with one entry of `passes` for each of the N, and stages summed over all passes and threads. More keys are
passed over.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from driver import Failed

EXACT = "exact"
FAST = "fast"
STAGES = ("decode_s", "resize_s", "normalise_s")
TIMING_FLAGS = ("--repeat", "--threads", "--json")
MODE_FLAG = "--mode"


@dataclass(frozen=True)
class Timing:
    """What a timed run printed."""

    passes: list[dict[str, float]]
    stages: dict[str, float]
    """Seconds of each stage in all passes and threads, by a name of `STAGES`."""
    peak_bytes: int


@dataclass(frozen=True)
class Ours:
    """Our program."""

    program: Path

    @cached_property
    def flags(self) -> frozenset[str]:
        """The flags that its help names."""
        command = [str(self.program), "preprocess", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`{self.program.name} preprocess --help` ended with status {done.returncode}")
        return frozenset(re.findall(r"--[a-z-]+", done.stdout))

    def missing_for_timing(self) -> list[str]:
        """The flags that the timed runs need and that it lacks."""
        return [flag for flag in TIMING_FLAGS if flag not in self.flags]

    def has_fast_mode(self) -> bool:
        """Whether it can be asked for another mode than the exact one."""
        return MODE_FLAG in self.flags

    def to_write(self, spec: Path, mode: str, images: Sequence[str], out: Path) -> list[str]:
        """The command line that writes the tensors."""
        return [*self._command(spec, mode, images), "--out", str(out), "--force"]

    def to_time(self, spec: Path, mode: str, images: Sequence[str], repeat: int, threads: int) -> list[str]:
        """The command line that prepares all images `repeat` times."""
        options = ["--repeat", str(repeat), "--threads", str(threads), "--json"]
        return [*self._command(spec, mode, images), *options]

    def _command(self, spec: Path, mode: str, images: Sequence[str]) -> list[str]:
        command = [str(self.program), "preprocess", "--spec", str(spec)]
        if mode != EXACT:
            command += [MODE_FLAG, mode]
        return [*command, "--images", *images]


def timing(text: str, *, mode: str, images: int, repeat: int, threads: int) -> Timing:
    """Reads what a timed run printed, and makes sure that it did what was asked."""
    asked = {"schema": 1, "mode": mode, "images": images, "threads": threads, "passes": repeat}
    try:
        found: dict[str, Any] = json.loads(text)
        did = {key: found[key] for key in asked} | {"passes": len(found["passes"])}
        if did != asked:
            raise Failed(f"our program was asked for {asked} and did {did}")
        return Timing(
            passes=[{"wall_s": row["wall_s"], "cpu_s": row["cpu_s"]} for row in found["passes"]],
            stages={name: found["stages"][name] for name in STAGES},
            peak_bytes=found["peak_bytes"],
        )
    except json.JSONDecodeError as error:
        raise Failed(f"our program did not print JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise Failed(f"our program's JSON is not as the bench expects: {error!r}") from error
