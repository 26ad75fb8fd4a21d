"""What the drivers of all benches need: the machine, the versions, arguments, a reason to stop.

Only the standard library is used; Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Failed(Exception):
    """The bench cannot go on; the message says why."""


def say(message: str) -> None:
    """Progress, for people."""
    print(message, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
    }


def machine_name(about: dict[str, Any]) -> str:
    """A short name for the folder of results: the processor and how many there are."""
    words = re.sub(r"[^a-z0-9]+", "-", about["cpu"].lower()).strip("-")
    return f"{words}-{about['cpus']}cpu"


def usable_threads(wanted: Sequence[int]) -> tuple[int, ...]:
    """The numbers of CPUs that this machine can give."""
    there = len(os.sched_getaffinity(0))
    for threads in wanted:
        if threads > there:
            say(f"leaving out {threads} CPUs: this process may use {there}")
    usable = tuple(threads for threads in wanted if 0 < threads <= there)
    if not usable:
        raise Failed("no number of CPUs is left")
    return usable


def commit(repository: Path) -> str:
    """The commit of the repository, marked when tracked files have changed since."""
    described = subprocess.run(
        ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def first_line(command: Sequence[str]) -> str:
    """The first line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise Failed(f"`{shlex.join(command)}` ended with status {done.returncode}")
    return lines[0]


def pinned_versions(requirements: Path, wanted: Sequence[str]) -> dict[str, str]:
    """The versions to which the packages are pinned."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    return {name: version for name, version in pins.items() if name in wanted}


def numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas."""
    return tuple(int(number) for number in text.split(","))


def names_of(known: Sequence[str]) -> Any:
    """A parser of known names separated by commas, which keeps the order of `known`."""

    def parse(text: str) -> tuple[str, ...]:
        wanted = text.split(",")
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"`{name}` is none of {', '.join(known)}")
        return tuple(name for name in known if name in wanted)

    return parse
