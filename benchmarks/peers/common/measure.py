"""Runs a command and measures all of its processes: wall time, CPU time and peak memory.

* Wall time is from before the process is made until it has been waited for.
* CPU time is user and system time of the process and of every descendant that was waited for.
* Peak memory is the largest sum of resident memory over the process tree, sampled every 20 ms from
  `/proc`, or the kernel's own peak of the largest single process (`ru_maxrss`) if that is more: it
  sees what happens between two samples. The kernel counts the memory of whoever started the process
  up to that moment into `ru_maxrss`, so it is used only where it exceeds the driver's own peak.
  Pages that several processes share are counted once for each of them.

Linux only.
"""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY_S = 0.02
LOOK_FOR_CHILDREN_EVERY = 5
"""Samples between two searches for new processes, which cost more than reading their memory."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """What one run of a command took."""

    status: int
    start_s: float
    """On the system-wide monotonic clock."""
    wall_s: float
    user_s: float
    system_s: float
    max_rss_bytes: int
    """`ru_maxrss`: the peak of the largest process, or of the driver if that was larger."""
    driver_max_rss_bytes: int
    """What the driver's own memory may have contributed to `max_rss_bytes`."""
    tree: list[tuple[float, int]]
    """Time on the monotonic clock, and bytes of resident memory over the process tree."""

    def cpu_s(self) -> float:
        """User and system time."""
        return self.user_s + self.system_s

    def tree_peak_bytes(self, start_s: float = 0.0, end_s: float = float("inf")) -> int:
        """The largest sum over the tree, of the samples in an interval; 0 when it has none."""
        return max((rss for at, rss in self.tree if start_s <= at <= end_s), default=0)

    def peak_bytes(self) -> int:
        """Peak memory; see the documentation of this module."""
        is_own = self.max_rss_bytes > self.driver_max_rss_bytes
        return max(self.tree_peak_bytes(), self.max_rss_bytes if is_own else 0)


class TreeSampler(threading.Thread):
    """Samples the resident memory of a process and its descendants until told to stop."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.samples: list[tuple[float, int]] = []
        self._stopped = threading.Event()

    def run(self) -> None:
        """Samples at fixed times, skipping those that were missed."""
        tree: list[int] = [self.root]
        for number in range(1 << 62):
            if number % LOOK_FOR_CHILDREN_EVERY == 0:
                tree = process_tree(self.root)
            self.samples.append((time.monotonic(), sum(resident_bytes(pid) for pid in tree)))
            if self._stopped.wait(SAMPLE_EVERY_S - time.monotonic() % SAMPLE_EVERY_S):
                return

    def stop(self) -> list[tuple[float, int]]:
        """Ends the sampling and gives what was seen."""
        self._stopped.set()
        self.join()
        return self.samples


def process_tree(root: int) -> list[int]:
    """`root` and all its descendants, as far as they still exist."""
    tree = [root]
    for pid in tree:
        tree.extend(children(pid))
    return tree


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found.extend(int(child) for child in file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        # The process, or one of its threads, ended while we looked.
        pass
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


@contextmanager
def only_on(cpus: set[int]) -> Iterator[None]:
    """Restricts this thread, and so the processes that the block starts, to `cpus`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(
    command: Sequence[str], cpus: set[int], env: Mapping[str, str], stdout: Path, stderr: Path
) -> Measured:
    """Runs `command` on `cpus` to its end and measures it."""
    with stdout.open("wb") as out, stderr.open("wb") as err:
        driver_max_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        start_s = time.monotonic()
        with only_on(cpus):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)
        sampler = TreeSampler(process.pid)
        sampler.start()
        try:
            _, wait_status, usage = os.wait4(process.pid, 0)
        finally:
            wall_s = time.monotonic() - start_s
            tree = sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return Measured(
        status=process.returncode,
        start_s=start_s,
        wall_s=wall_s,
        user_s=usage.ru_utime,
        system_s=usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * 1024,
        driver_max_rss_bytes=driver_max_rss_bytes,
        tree=tree,
    )
