"""The targets of the preprocessing, and whether the measured runs meet them.

A ratio of times is taken between neighbours: our run and the peer's that followed it in the same round.
Its value is the median over the rounds. The fastest peer of a case is the processing peer with the
largest median of images/s. All but the last target are about one thread. On a machine that is not idle
the ratio of CPU times is the more reliable one; what is met is decided by wall time all the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ours import EXACT, FAST
from peers import PEERS
from specs import HF_FAST, HF_SLOW

Run = dict[str, Any]
OURS = "ours"

FASTER_THAN_FASTEST = {"small": 1.5, "large": 1.1}
FASTER_THAN_REPRODUCED = 3.0
FAST_MODE_FASTER_THAN_FASTEST = {"large": 2.2}
TWO_THREADS = 1.9


@dataclass(frozen=True)
class Ratio:
    """The median over rounds, and the least and the most."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio | None:
        """None when there are no rounds."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Target:
    """One wish and what came of it."""

    what: str
    photos: str
    wanted: float
    ratio: Ratio | None
    """None when it was not measured."""
    cpu: Ratio | None = None
    """The same by CPU time, where that means something."""

    def is_met(self) -> bool | None:
        """None when it was not measured."""
        return None if self.ratio is None else self.ratio.value >= self.wanted


def images_per_s(run: Run, clock: str = "wall_s") -> float:
    """Of the median pass of a run; `clock` is `wall_s` or `cpu_s`."""
    return float(run["images"] / statistics.median(one[clock] for one in run["passes"]))


def our_runs(runs: Sequence[Run], mode: str, spec: str, beside: str | None = None) -> list[Run]:
    """Our runs in a mode and by a spec; with `beside` only those next to a peer."""
    return [
        run
        for run in runs
        if run["side"] == OURS
        and (run["mode"], run["spec"]) == (mode, spec)
        and beside in (None, run["beside"])
    ]


def peer_runs(runs: Sequence[Run], peer: str) -> list[Run]:
    """The runs of a peer."""
    return [run for run in runs if run["side"] == peer]


def against(
    runs: Sequence[Run], mode: str, spec: str, peer: str | None, clock: str = "wall_s"
) -> Ratio | None:
    """How many times as fast our runs are as the peer's next to them."""
    if peer is None:
        return None
    theirs = {run["round"]: images_per_s(run, clock) for run in peer_runs(runs, peer)}
    ours = [run for run in our_runs(runs, mode, spec, peer) if run["round"] in theirs]
    return Ratio.of([images_per_s(run, clock) / theirs[run["round"]] for run in ours])


def fastest_peer(runs: Sequence[Run]) -> str | None:
    """The processing peer with the most images/s; none when none was measured."""
    speeds = {
        peer.name: statistics.median(images_per_s(run) for run in found)
        for peer in PEERS
        if not peer.only_decodes and (found := peer_runs(runs, peer.name))
    }
    return max(speeds, key=lambda name: speeds[name]) if speeds else None


def case_runs(document: dict[str, Any], photos: str, threads: int) -> list[Run]:
    """The runs of one case, none if it was left out."""
    for case in document["cases"]:
        if (case["set"], case["threads"]) == (photos, threads):
            found: list[Run] = case["runs"]
            return found
    return []


def targets(document: dict[str, Any]) -> list[Target]:
    """All targets, in the order in which they are told."""
    one = {photos: case_runs(document, photos, 1) for photos in ("small", "large")}

    def compared(what: str, photos: str, wanted: float, mode: str, spec: str, peer: str | None) -> Target:
        wall, cpu = (against(one[photos], mode, spec, peer, clock) for clock in ("wall_s", "cpu_s"))
        return Target(what, photos, wanted, wall, cpu)

    found = []
    for photos, wanted in FASTER_THAN_FASTEST.items():
        fastest = fastest_peer(one[photos])
        for spec in (HF_SLOW, HF_FAST):
            what = f"exact ({spec}) : fastest peer ({fastest})"
            found.append(compared(what, photos, wanted, EXACT, spec, fastest))
    for peer in PEERS:
        if peer.is_reproduced:
            what = f"exact ({peer.spec}) : {peer.name}"
            for photos in one:
                found.append(compared(what, photos, FASTER_THAN_REPRODUCED, EXACT, peer.spec, peer.name))
    for photos, wanted in FAST_MODE_FASTER_THAN_FASTEST.items():
        fastest = fastest_peer(one[photos])
        what = f"fast mode : fastest peer ({fastest})"
        found.append(compared(what, photos, wanted, FAST, HF_SLOW, fastest))
    for photos in one:
        for mode in (EXACT, FAST):
            ratio = scaling(one[photos], case_runs(document, photos, 2), mode)
            found.append(Target(f"{mode} mode, two threads : one", photos, TWO_THREADS, ratio))
    return found


def scaling(one: Sequence[Run], two: Sequence[Run], mode: str) -> Ratio | None:
    """Our speed on two threads in that on one, between the medians of each round."""
    slow, fast = (round_medians(our_runs(runs, mode, HF_SLOW)) for runs in (one, two))
    return Ratio.of([fast[number] / slow[number] for number in slow.keys() & fast.keys()])


def round_medians(runs: Sequence[Run]) -> dict[int, float]:
    """The median images/s of the runs of each round."""
    rounds: dict[int, list[float]] = {}
    for run in runs:
        rounds.setdefault(run["round"], []).append(images_per_s(run))
    return {number: statistics.median(values) for number, values in rounds.items()}
