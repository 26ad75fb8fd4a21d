"""What the drivers of all benches need: the machine, the versions, arguments, files of results, a reason to stop.

Only the standard library is used; Linux only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
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


class Results:
    """The files of a bench: NAME.json (raw) and NAME.md (its tables) in a folder of the day and the machine."""

    def __init__(self, name: str, results: Path, out: Path | None, markdown: Callable[[dict[str, Any]], str]) -> None:
        about = machine()
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        self.folder = out or results / f"{today}-{machine_name(about)}"
        self.raw = self.folder / f"{name}.json"
        self.tables = self.folder / f"{name}.md"
        self.head: dict[str, Any] = {"schema": 1, "date": today, "machine": about}
        self._markdown = markdown

    def earlier(self) -> dict[str, Any] | None:
        """What is stored already."""
        return json.loads(self.raw.read_text(encoding="utf-8")) if self.raw.is_file() else None

    def write(self, document: dict[str, Any]) -> None:
        """Stores both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.raw.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        self.tables.write_text(self._markdown(document), encoding="utf-8")

    def say_where(self) -> None:
        """Says which files were written."""
        say(f"wrote {self.raw} and {self.tables}")


def joined(
    before: dict[str, Any] | None, now: dict[str, Any], parts: Mapping[str, Sequence[str]], order: Sequence[str]
) -> dict[str, Any]:
    """The rows of `parts` of both documents, those measured now in the place of earlier ones with the same keys.

    The first key of a row is one of `order`, by which they are sorted.
    """
    if before is None:
        return now
    if before["versions"] != now["versions"]:
        raise Failed(f"the results there are of {before['versions']}, not of {now['versions']}")
    places = {name: number for number, name in enumerate(order)}

    def both(part: str, keys: Sequence[str]) -> list[Any]:
        rows = {tuple(row[key] for key in keys): row for row in before[part] + now[part]}
        return [row for _, row in sorted(rows.items(), key=lambda item: (places[item[0][0]], *item[0][1:]))]

    notes = list(dict.fromkeys(before["notes"] + now["notes"]))
    return now | {part: both(part, keys) for part, keys in parts.items()} | {"notes": notes}


def run_as_command(bench: Callable[[], None]) -> int:
    """Runs a bench; the exit status of its program."""
    try:
        bench()
    except Failed as failure:
        say(f"error: {failure}")
        return 1
    return 0
