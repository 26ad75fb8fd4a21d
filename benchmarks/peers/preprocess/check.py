"""Before anything is timed: do both sides make the same pixels?

Every processing peer prepares every set of photos once, and so does our program by the spec that the peer
is compared by. What the table of peers gives a tolerance must stay within it; for OpenCV the difference
is only told. The deviation of the fast mode from the exact one is told as well.

A spec of `MAY_BE_UNSUPPORTED` that our program does not read yet is no disagreement: it is reported as
such, and the peer is timed beside the default spec. It does not read a spec when it refuses it, or when it
makes the pixels of the default spec from it although the peer's are others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import Failed
from ours import EXACT, FAST
from peers import Peer
from specs import HF_SLOW, OPEN_CLIP

MAY_BE_UNSUPPORTED = (OPEN_CLIP,)

EQUAL = "equal"
WITHIN = "within the tolerance"
DIFFERS = "differs"
NOT_ASKED = "not asked to be equal"
NOT_SUPPORTED = "not supported yet"

FAST_MODE = "fast mode"
"""Stands in a row where the name of a peer stands otherwise."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Steps:
    """What the check needs done; each takes the name of a set of photos first."""

    ours: Callable[[str, str, str], Path | str]
    """Our pixels in a set, by a spec and in a mode: the file, or the reason why there is none."""
    peer: Callable[[str, Peer], Path]
    compare: Callable[[str, Path, Path], Row]


def check(sets: Sequence[str], peers: Sequence[Peer], steps: Steps, *, fast_mode: bool) -> Iterator[Row]:
    """One row for each set and peer, and for the fast mode."""
    for name in sets:
        ours = {spec: steps.ours(name, spec, EXACT) for spec in needed_specs(peers)}
        for spec, pixels in ours.items():
            if isinstance(pixels, str) and spec not in MAY_BE_UNSUPPORTED:
                raise Failed(f"{name}: {pixels}")
        default = ours[HF_SLOW]
        assert isinstance(default, Path), "the default spec was checked above"
        for peer in peers:
            row = {"set": name, "peer": peer.name, "spec": peer.spec, "tolerance": peer.tolerance}
            yield row | compared(name, peer, ours[peer.spec], default, steps)
        if fast_mode:
            fast = steps.ours(name, HF_SLOW, FAST)
            if isinstance(fast, str):
                raise Failed(f"{name}: {fast}")
            row = {"set": name, "peer": FAST_MODE, "spec": HF_SLOW, "tolerance": None}
            found = steps.compare(name, fast, default)
            yield row | found | {"verdict": verdict(found, None)}


def needed_specs(peers: Sequence[Peer]) -> list[str]:
    """The default spec and those of the peers."""
    return list(dict.fromkeys([HF_SLOW, *(peer.spec for peer in peers)]))


def compared(name: str, peer: Peer, ours: Path | str, default: Path, steps: Steps) -> Row:
    """Our pixels against those of one peer."""
    if isinstance(ours, str):
        return {"verdict": NOT_SUPPORTED, "reason": ours}
    found = steps.compare(name, ours, steps.peer(name, peer))
    judged = verdict(found, peer.tolerance)
    may_be_unread = judged == DIFFERS and peer.spec in MAY_BE_UNSUPPORTED
    if may_be_unread and steps.compare(name, ours, default).get("differing") == 0:
        return {"verdict": NOT_SUPPORTED, "reason": "the pixels are those of the default spec"}
    return found | {"verdict": judged}


def verdict(found: Mapping[str, Any], tolerance: float | None) -> str:
    """What a comparison amounts to."""
    if "problem" in found:
        return DIFFERS
    if found["differing"] == 0:
        return EQUAL
    if tolerance is None:
        return NOT_ASKED
    return WITHIN if found["max"] <= tolerance else DIFFERS


def problems(rows: Sequence[Row]) -> list[str]:
    """The rows that stop the bench, for people."""
    return [line(row) for row in rows if row["verdict"] == DIFFERS]


def unsupported_specs(rows: Sequence[Row]) -> set[str]:
    """The specs that our program does not read yet."""
    return {row["spec"] for row in rows if row["verdict"] == NOT_SUPPORTED}


def line(row: Row) -> str:
    """One row in words."""
    start = f"{row['set']}, {row['peer']} ({row['spec']}): {row['verdict']}"
    if "problem" in row or "reason" in row:
        return f"{start}: {row.get('problem') or row['reason']}"
    if row["verdict"] == EQUAL:
        return f"{start}, {row['images']} images"
    worst = row["worst"]
    return (
        f"{start}: {row['differing']} of {row['values']} values in {row['differing_images']} of "
        f"{row['images']} images, largest {row['max']:.3g} ({row['max_levels']:.1f} levels), "
        f"mean {row['mean']:.3g} ({row['mean_levels']:.3f} levels); "
        f"worst in {worst['image']}, {worst['channel']}, row {worst['row']}, column {worst['column']}: "
        f"{worst['ours']!r}, the reference says {worst['reference']!r}"
    )
